"""Fetching a data set: a resumable download, and laying its archive out in a folder or bucket."""
