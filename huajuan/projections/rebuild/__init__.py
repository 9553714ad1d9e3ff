"""Rebuilds read tables from the first event, while the old tables are being read."""
