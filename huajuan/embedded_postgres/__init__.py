"""Run PostgreSQL from an installed wheel, shared by processes and safe against kill -9 and reboots."""

from huajuan.embedded_postgres.errors import EmbeddedPostgresError
from huajuan.embedded_postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
