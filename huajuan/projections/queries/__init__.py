"""Queries that read more than one row or more than one read table."""
