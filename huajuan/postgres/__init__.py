"""Connections to Postgres: opening, pooling, retries, and checks of the server.

Imports nothing of the service.
"""
