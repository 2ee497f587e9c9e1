"""Identifiers in notes: finding, removing, and proof of what remained; no framework but where a model is used."""
