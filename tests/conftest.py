"""Fixtures every test may ask for."""

import os
import signal
from pathlib import Path

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


# The files that take longest, by their own processes, waits or number of cases.
SLOWEST = (
    "faults/test_kill_matrix.py",
    "jobs/test_faults.py",
    "http/test_fuzz.py",
    "projections/rebuild/test_command.py",
    "http/test_after_commit.py",
    "jobs/test_server_pool.py",
    "event_store/test_processes.py",
    "server/",
    "cli/",
    "response_cache/test_middleware.py",
    "test_readme.py",
    "http/test_password_change.py",
    "event_store/test_failover.py",
    "projections/rebuild/",
    "faults/",
    "inference_client/test_polling.py",
    "http/test_own_addresses.py",
    "embedded_postgres/",
)


def pytest_xdist_auto_num_workers() -> int:
    """Three processes on two cores: a third of the time of a test is waiting."""
    return -(-(os.cpu_count() or 1) * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take longest: parallel processes then end at the same time."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((rank for rank, start in enumerate(SLOWEST) if path.startswith(start)), len(SLOWEST))


configure_logs(readable=True)
# Each child process would otherwise compile all our modules again where Python is told to write no bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Under `nohup` or in the background these signals are ignored, and child processes inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
