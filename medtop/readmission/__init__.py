"""Notes -> 30-day readmission: records, admission risks, scoring of new notes."""
