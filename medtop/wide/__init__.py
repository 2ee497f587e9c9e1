"""The wide part: codes within time windows, their joint convex fit, and how it is set beside the encoder."""
