"""Whole runs: train, evaluate, report, predict."""
