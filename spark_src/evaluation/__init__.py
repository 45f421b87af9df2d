"""What the numbers are worth: quality, drift."""
