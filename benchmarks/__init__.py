"""Speed as ratios from one run: ours beside the baseline beside the limit. No tests here."""
