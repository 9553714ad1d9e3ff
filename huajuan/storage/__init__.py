"""Stored pictures and avatars, and the deletions that are still to be done."""
