"""Fetching a data set: a resumable download, and unpacking the archive to a folder or bucket."""
