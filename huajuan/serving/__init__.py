"""Serving from a bare machine: the port, the data folder, the database, the painter, then the workers."""
