"""Personal data in Dagster's own records: finding, redacting and scanning it for an erasure."""
