"""Entities: documents and spans in text, every format of the field, scores, windows, tags, and a reader's page."""
