"""Dagster on a team's host: launching and watching runs."""
