"""Asset checks: what they assert, and the job that runs them all."""
