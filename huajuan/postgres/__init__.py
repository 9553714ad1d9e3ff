"""Connections to Postgres, pools, retries and checks of the server; knows nothing of the service."""
