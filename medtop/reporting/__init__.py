"""Pages, plots and cards for people to read."""
