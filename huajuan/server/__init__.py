"""Starts the service: listening socket, data folder, database, demo ComfyUI, then the workers."""
