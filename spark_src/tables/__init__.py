"""How tables are stored: Delta, schemas, statistics, vectors, CSV."""
