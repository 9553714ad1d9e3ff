"""Files in the data folder that the workers of one server share, removed when it ends."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huajuan.embedded_postgres.processes import exists
from huajuan.projections.registry import SCHEMAS
from huajuan.response_cache.versions import make_changes_file
from huajuan.settings import PREFIX

CHANGES, METRICS = "changes", "metrics"
# Read by the metrics library when it is imported, so it must be set before any worker starts.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_files(folder: Path) -> Iterator[None]:
    """What of the tables changed, and the metrics, for the workers that this process starts."""
    _remove_those_of_dead_servers(folder)
    changes, metrics = make_changes_file(folder, SCHEMAS), folder / f"{METRICS}-{os.getpid()}"
    metrics.mkdir(mode=0o700, exist_ok=True)
    os.environ |= {f"{PREFIX}CHANGES_FILE": str(changes), METRICS_FOLDER: str(metrics)}
    try:
        yield
    finally:
        del os.environ[f"{PREFIX}CHANGES_FILE"], os.environ[METRICS_FOLDER]
        changes.unlink(missing_ok=True)
        shutil.rmtree(metrics, ignore_errors=True)


def _remove_those_of_dead_servers(folder: Path) -> None:
    """A server that was killed could not remove its own."""
    for name in (CHANGES, METRICS):
        for left in folder.glob(f"{name}-*"):
            number = left.name.removeprefix(f"{name}-")
            if not (number.isdecimal() and exists(int(number))):
                _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
