"""The workflow store: workflows by the digest that events name."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from huajuan.domain.image import Image
from huajuan.event_store.errors import DatabaseFailure
from huajuan.inference_client import (
    Drawing,
    DrawingFailed,
    Graph,
    OutcomeUnknown,
    WorkflowError,
    check_workflow,
    not_applied,
    text_to_image,
    workflow_warnings,
)
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements

FILE_BYTES_MAX = 1 << 20
CACHED_MAX = 16
_logger = structlog.get_logger(__name__)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_INSERT = """
INSERT INTO operations.workflows (digest, document) VALUES (%(digest)s, %(document)s)
    ON CONFLICT (digest) DO NOTHING
"""
_FIND = "SELECT document FROM operations.workflows WHERE digest = %(digest)s"


class WorkflowUnusable(Exception):
    """The setting names no usable workflow. The message is one line."""


class StoredWorkflow(NamedTuple):
    """A workflow's canonical JSON text, and its SHA-256 in hexadecimal."""

    digest: str
    document: str


class WorkflowStore:
    """`current` is the digest of the workflow of new jobs."""

    def __init__(self, statements: Statements, current: str = "", workflow: Graph | None = None) -> None:
        self._statements = statements
        self._cache = {"": text_to_image()}
        if workflow is not None:
            self._cache[current] = workflow
        self.current = current

    @property
    def not_applied(self) -> list[str]:
        """Request parameters that the current workflow ignores."""
        current = self._cache.get(self.current)
        return not_applied(current) if current else []

    async def find(self, digest: str) -> Graph:
        """The workflow with this digest. The empty digest of old pictures is the built-in workflow.

        Raises `DrawingFailed` if it is not stored, `OutcomeUnknown` if the database does not answer.
        """
        if digest not in self._cache:
            try:
                found = await _fetch(self._statements, digest)
            except DatabaseFailure as error:
                raise OutcomeUnknown("the workflow cannot be read now", type(error).__name__) from error
            if found is None:
                raise DrawingFailed("its workflow is not kept any more", digest)
            self._cache_workflow(digest, found)
        return self._cache[digest]

    def _cache_workflow(self, digest: str, workflow: Graph) -> None:
        if len(self._cache) >= CACHED_MAX:
            oldest = next(known for known in self._cache if known not in {self.current, ""})
            del self._cache[oldest]
        self._cache[digest] = workflow


def drawing_for(image: Image, workflow: Graph, checkpoint: str | None) -> Drawing:
    """The request to the inference client. The prompt of an erased account is empty."""
    return Drawing(
        prompt_id=image.id,
        prompt=image.prompt or "",
        width=image.width,
        height=image.height,
        steps=image.steps,
        sampling_method=image.sampling_method,
        noise_seed=image.noise_seed,
        checkpoint=checkpoint,
        workflow=workflow,
    )


def read_workflow(path: str) -> Graph:
    """The workflow in a file, or the built-in one for an empty path. Raises `WorkflowUnusable`."""
    if not path:
        return text_to_image()
    try:
        with Path(os.path.expanduser(path)).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise WorkflowUnusable(getattr(error, "strerror", None) or "it is no file") from None
    if len(content) > FILE_BYTES_MAX:
        raise WorkflowUnusable(f"it is longer than {FILE_BYTES_MAX:,} bytes")
    return read_graph(content)


def read_graph(content: bytes) -> Graph:
    """Raises `WorkflowUnusable`."""
    try:
        workflow: Graph = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
        check_workflow(workflow)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WorkflowUnusable(f"it is no JSON: {error}") from None
    except WorkflowError as error:
        raise WorkflowUnusable(str(error)) from None
    return workflow


def check_workflow_setting(setting: str) -> None:
    """Check a path before the database is open. Raises `WorkflowUnusable`."""
    if not _DIGEST.fullmatch(setting):
        read_workflow(setting)


def canonical(workflow: Graph) -> StoredWorkflow:
    """Independent of the file's layout."""
    document = msgspec.json.encode(workflow, order="deterministic").decode()
    return StoredWorkflow(hashlib.sha256(document.encode()).hexdigest(), document)


async def open_workflow_store(statements: Statements, setting: str) -> WorkflowStore:
    """Store the workflow of a file, or find a stored one by `sha256:…`. Raises `WorkflowUnusable`."""
    if named := _DIGEST.fullmatch(setting):
        found = await _fetch(statements, named[1])
        if found is None:
            raise WorkflowUnusable("no workflow of this digest is stored")
        _log_warnings(found)
        return WorkflowStore(statements, named[1], found)
    workflow = read_workflow(setting)
    await statements.run(_INSERT, canonical(workflow)._asdict())
    _log_warnings(workflow)
    return WorkflowStore(statements, canonical(workflow).digest, workflow)


def _log_warnings(workflow: Graph) -> None:
    if found := workflow_warnings(workflow):
        _logger.warning("workflow: pictures may differ from the request", warnings=found)


def store_workflow_blocking(dsn: str, setting: str) -> str:
    """As `open_workflow_store`, without an event loop. Returns `sha256:…`, the setting of the workers."""
    if named := _DIGEST.fullmatch(setting):
        with connect_blocking(dsn) as connection:
            found = connection.execute(_FIND, {"digest": named[1]}).fetchone()
        if not found:
            raise WorkflowUnusable("no workflow of this digest is stored")
        read_graph(found[0].encode())
        return setting
    stored = canonical(read_workflow(setting))
    with connect_blocking(dsn) as connection:
        connection.execute(_INSERT, stored._asdict())
    return f"sha256:{stored.digest}"


async def _fetch(statements: Statements, digest: str) -> Graph | None:
    rows = await statements.run(_FIND, {"digest": digest})
    return msgspec.json.decode(rows[0][0]) if rows else None
