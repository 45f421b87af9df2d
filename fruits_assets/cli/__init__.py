"""The `fruits` command: one module per command."""
