"""Dagster's own records of a person: found, redacted, and looked into by an erasure's proof."""
