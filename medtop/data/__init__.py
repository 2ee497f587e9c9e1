"""Sequences or texts -> TFRecord -> masked, bucketed or packed batches."""
