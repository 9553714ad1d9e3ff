"""Workflows in ComfyUI's API format: placeholders, checks, compatibility with a server, and filling."""
