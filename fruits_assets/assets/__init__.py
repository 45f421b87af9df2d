"""The asset graph, one module per asset or op. Dagster finds every asset of this package."""
