"""Files and folders: errors, whole outputs, safe pickles, staging, SQL helpers; no framework."""
