"""Verifies that the log is unchanged, and explains each balance from the log alone."""
