"""Models of texts on the tasks that they were pretrained on, side by side on the same held-out notes."""
