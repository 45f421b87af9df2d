"""Dagster on a shared host: launching and monitoring runs."""
