"""Fixtures every test may ask for."""

from huajuan.logs import configure_logs
from tests.postgres import (
    database_url,
    databases,
    module_database_url,
    postgres_control,
    postgres_server,
    template_database,
)

__all__ = [
    "database_url",
    "databases",
    "module_database_url",
    "postgres_control",
    "postgres_server",
    "template_database",
]

configure_logs(readable=True)
