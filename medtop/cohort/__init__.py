"""Stays table -> sequences and labels at a prediction time, splits, vocabulary, manifest; no framework."""
