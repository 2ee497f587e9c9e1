"""The contenders of training_speed.py and entities_speed.py, what they work on, and how they take turns."""
