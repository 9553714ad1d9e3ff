"""Fixtures every test may ask for."""

import os
import signal

import pytest

from huajuan.runtime.logs import configure_logs
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take longest: parallel processes then end at the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


configure_logs(readable=True)
# Each child process would otherwise compile all our modules again where Python is told to write no bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Under `nohup` or in the background these signals are ignored, and child processes inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
