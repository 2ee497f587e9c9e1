"""Finished runs as SavedModel and ONNX: codes in, calibrated probabilities out."""
