"""The workflow store (by the digest that events name), and checks of the servers for the current workflow."""

import asyncio
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
    ServerUnavailable,
    WorkflowError,
    check_workflow,
    not_applied,
    text_to_image,
    with_checkpoint,
    workflow_warnings,
)
from huajuan.jobs.queue import DispatchLimits
from huajuan.jobs.servers import InferenceServer, ServerPool
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements

FILE_BYTES_MAX = 1 << 20
CACHED_MAX = 16
NOT_STORED = "no workflow of this digest is stored"
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
        self._statements, self.current = statements, current
        self._cache = {"": text_to_image()}
        if workflow is not None:
            self._cache[current] = workflow

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
            if len(self._cache) >= CACHED_MAX:
                del self._cache[next(known for known in self._cache if known not in {self.current, ""})]
            self._cache[digest] = found
        return self._cache[digest]


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
        digest, workflow = named[1], await _fetch(statements, named[1])
        if workflow is None:
            raise WorkflowUnusable(NOT_STORED)
    else:
        workflow = read_workflow(setting)
        stored = canonical(workflow)
        digest = stored.digest
        await statements.run(_INSERT, stored._asdict())
    if found := workflow_warnings(workflow):
        _logger.warning("workflow: pictures may differ from the request", warnings=found)
    return WorkflowStore(statements, digest, workflow)


def store_workflow_blocking(dsn: str, setting: str) -> str:
    """As `open_workflow_store`, without an event loop. Returns `sha256:…`, the setting of the workers."""
    if named := _DIGEST.fullmatch(setting):
        with connect_blocking(dsn) as connection:
            found = connection.execute(_FIND, {"digest": named[1]}).fetchone()
        if not found:
            raise WorkflowUnusable(NOT_STORED)
        read_graph(found[0].encode())
        return setting
    stored = canonical(read_workflow(setting))
    with connect_blocking(dsn) as connection:
        connection.execute(_INSERT, stored._asdict())
    return f"sha256:{stored.digest}"


async def _fetch(statements: Statements, digest: str) -> Graph | None:
    rows = await statements.run(_FIND, {"digest": digest})
    return msgspec.json.decode(rows[0][0]) if rows else None


async def run_compatibility_checks(
    servers: ServerPool, workflows: WorkflowStore, limits: DispatchLimits, checkpoint: str = ""
) -> None:
    """Check each server as soon as it answers, with `checkpoint` if it is given. Runs until cancelled.

    An incompatible server gets jobs of other workflows, and jobs of this one only while no better server
    answers.
    """
    workflow = with_checkpoint(await workflows.find(workflows.current), checkpoint)
    servers.checked_workflow = workflows.current
    checked: set[InferenceServer] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            servers.added.clear()
            present = set(servers.all.values())
            for server in present - checked:
                group.create_task(_check_until_compatible(server, servers, workflow, limits))
            checked = present
            await servers.added.wait()


async def _check_until_compatible(
    server: InferenceServer, servers: ServerPool, workflow: Graph, limits: DispatchLimits
) -> None:
    """Repeat the check until the server is compatible (its models may be installed later) or removed."""
    is_logged, pause_seconds = False, limits.compatibility_retry_seconds
    while servers.all.get(server.url) is server:
        try:
            problems = await server.client.check_compatibility(workflow)
        except ServerUnavailable as unavailable:
            if not is_logged:
                event, why = "workflow not checked: inference server unavailable", unavailable
                _logger.warning(event, server=server.url, reason=why.reason, detail=why.detail)
            is_logged = True
            # The pauses grow: behind a proxy the server may never describe its nodes.
            next_seconds = min(pause_seconds * 2, limits.compatibility_retry_seconds_max)
        else:
            _record_problems(server, problems)
            if not problems:
                return
            pause_seconds = next_seconds = limits.compatibility_retry_seconds
        await asyncio.sleep(pause_seconds)
        pause_seconds = next_seconds


def _record_problems(server: InferenceServer, problems: list[str]) -> None:
    """Store the result, and log it if it has changed."""
    before = server.problems
    server.record_problems(problems)
    if problems and problems != before:
        _logger.error("workflow incompatible with the inference server", server=server.url, problems=problems)
    elif before and not problems:
        _logger.info("workflow compatible with the inference server now", server=server.url)
