"""Predictions, scoring, metrics with intervals, calibration, baselines."""
