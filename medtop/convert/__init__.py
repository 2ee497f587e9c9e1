"""Weights in and out: one name table per foreign layout, and models that run where medtop is not installed."""
