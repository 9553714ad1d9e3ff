"""Draws an ink landscape from a prompt."""
