"""Rebuilds read tables from the first event on, beside the ones that are being read."""
