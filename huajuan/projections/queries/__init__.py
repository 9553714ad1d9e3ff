"""Queries that join read tables, and their paging."""
