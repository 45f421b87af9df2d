"""The Dagster side: assets, IO managers, checks and the command line. No numeric code."""
