"""Rebuilds read tables from the first event, in a process of its own, while the old tables are served."""
