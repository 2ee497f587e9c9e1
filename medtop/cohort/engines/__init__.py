"""Who sorts the rows and runs the first pass: DuckDB, whole or in parts."""
