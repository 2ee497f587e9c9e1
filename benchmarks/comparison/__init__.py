"""What benchmarks share that compare trained models on held-out data: cohorts, runs, cells on disk, tables."""
