"""Fetching a dataset: a resumable download, and unpacking the archive to a folder or bucket."""
