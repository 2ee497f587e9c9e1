"""What scripts share: flags, exit codes, quiet; no other room imports it."""
