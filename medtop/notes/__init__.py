"""Clinical notes: readmission labels, texts, tokens, windows, aggregation, results."""
