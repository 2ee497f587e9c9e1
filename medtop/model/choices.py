"""Balancers by their name, for flags that are checked before Keras is loaded."""

BALANCERS = dict.fromkeys(("fixed", "uncertainty", "gradnorm", "random"))
"""`--loss_balancing` -> class; those of this package are filled in when `medtop.model.balancing` is loaded. Another one
is one more class and one more entry, from within the package or from outside."""
