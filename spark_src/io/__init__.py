"""Locations on disk and in S3, AWS clients, and checks of buckets."""
