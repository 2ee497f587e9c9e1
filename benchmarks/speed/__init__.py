"""The contenders of training_speed.py, and what they train on."""
