"""Fixtures every test may ask for."""

import signal

from huajuan.observability.logs import configure_logs
from tests.database import (
    bare_database_url,
    bare_template_database,
    database_url,
    databases,
    module_database_url,
    postgres_control,
    postgres_server,
    template_database,
)

__all__ = [
    "bare_database_url",
    "bare_template_database",
    "database_url",
    "databases",
    "module_database_url",
    "postgres_control",
    "postgres_server",
    "template_database",
]

configure_logs(readable=True)
# Whoever runs the tests under `nohup` or in the background ignores these, and so would all that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
