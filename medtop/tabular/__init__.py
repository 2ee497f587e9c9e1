"""Many targets from one table: a shared trunk, a head per target, any balancer, cross-validation (docs/tabular.md)."""
