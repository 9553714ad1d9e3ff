"""Runs PostgreSQL from an installed wheel. Several processes share a server; it survives kill -9."""

from huajuan.embedded_postgres.processes import EmbeddedPostgresError
from huajuan.embedded_postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
