"""Options, run directory, one step over any number of devices, checkpoints, the trainer."""
