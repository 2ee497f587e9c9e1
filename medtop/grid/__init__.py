"""Grids of runs: cells, their processes, one table of results."""
