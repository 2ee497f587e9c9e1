"""Texts of any origin to one corpus: read, cleaned, de-duplicated globally, mixed, with a card."""
