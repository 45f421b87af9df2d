"""Spark and numeric code of the pipeline: plain functions that never import Dagster."""
