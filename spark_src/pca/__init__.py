"""PCA: sums, fit, projection."""
