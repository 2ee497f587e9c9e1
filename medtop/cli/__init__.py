"""What scripts share: flags, exit codes, quick and silent imports; no other room imports it."""
