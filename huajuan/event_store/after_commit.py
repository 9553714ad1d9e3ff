"""Guards what follows a commit: what is committed is never reported as failed."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_logger = structlog.get_logger(__name__)


@contextmanager
def after_commit(step: str) -> Iterator[None]:
    """A failure inside is logged and goes no further. `step` names what may be missing."""
    try:
        yield
    except Exception as error:
        _logger.warning("failed after a commit", step=step, error=type(error).__name__, exc_info=error)
