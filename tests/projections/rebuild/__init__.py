"""Rebuilding read tables."""
