"""Starts the service on a machine: port, data folder, database, demo ComfyUI, then the workers."""
