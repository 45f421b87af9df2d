"""Locations, AWS and what S3 keeps."""
