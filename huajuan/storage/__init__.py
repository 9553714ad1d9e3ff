"""Stored pictures and avatars, and the files that are to be deleted."""
