"""Benchmarks that compare the pipeline with a baseline and an upper bound in one run."""
