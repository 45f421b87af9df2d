"""Erasing a person's data.

`fruits_assets/erasure_job.py` runs the steps: `requests` (what to erase), `lookup` (where it is),
`inputs` and `rows` (delete it), `purge` (earlier versions and leftovers), `proof` (scan everything
and write the receipt).
"""
