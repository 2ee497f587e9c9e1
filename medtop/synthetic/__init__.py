"""Everything generated, with its truth."""
