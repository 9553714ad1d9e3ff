"""Workflows: kept by the digest of their text, so that what an event names can be drawn by again."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from huajuan.domain.image import Image
from huajuan.event_store.errors import LogError
from huajuan.inference_client import (
    Drawing,
    DrawingFailed,
    Graph,
    OutcomeUnknown,
    WorkflowError,
    check_workflow,
    not_applied,
    remarks,
    text_to_image,
)
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements

FILE_BYTES_MAX = 1 << 20
REMEMBERED_MAX = 16
_logger = structlog.get_logger(__name__)
_NAMED = re.compile(r"sha256:([0-9a-f]{64})")
_KEEP = """
INSERT INTO operations.workflows (digest, document) VALUES (%(digest)s, %(document)s) ON CONFLICT (digest) DO NOTHING
"""
_FIND = "SELECT document FROM operations.workflows WHERE digest = %(digest)s"


class WorkflowUnusable(Exception):
    """There is no workflow there that can be drawn by; the message says why, in one line."""


class Kept(NamedTuple):
    """A workflow as it is kept: the SHA-256 of its text in hexadecimal, and the text."""

    digest: str
    document: str


class Workflows:
    """`current` is the digest of the workflow that new pictures are asked for with."""

    def __init__(self, statements: Statements, current: str = "", workflow: Graph | None = None) -> None:
        self._statements = statements
        self._remembered = {"": text_to_image()}
        if workflow is not None:
            self._remembered[current] = workflow
        self.current = current

    @property
    def not_applied(self) -> list[str]:
        """Parameters of a request that change nothing in a new picture."""
        current = self._remembered.get(self.current)
        return not_applied(current) if current else []

    async def find(self, digest: str) -> Graph:
        """By its digest; an old picture without one was drawn by the built-in workflow.

        Raises `DrawingFailed` when it is not kept, `OutcomeUnknown` when the database does not answer.
        """
        if digest not in self._remembered:
            try:
                found = await _found(self._statements, digest)
            except LogError as error:
                raise OutcomeUnknown("the workflow cannot be read now", type(error).__name__) from error
            if found is None:
                raise DrawingFailed("its workflow is not kept any more", digest)
            self._remember(digest, found)
        return self._remembered[digest]

    def _remember(self, digest: str, workflow: Graph) -> None:
        if len(self._remembered) >= REMEMBERED_MAX:
            oldest = next(known for known in self._remembered if known not in {self.current, ""})
            del self._remembered[oldest]
        self._remembered[digest] = workflow


def drawing_of(image: Image, workflow: Graph, checkpoint: str | None) -> Drawing:
    """What a painter needs to know. An erased person's job has no prompt any more."""
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


def read_workflow(place: str) -> Graph:
    """The workflow in a file, the built-in one for no file. Raises `WorkflowUnusable`."""
    if not place:
        return text_to_image()
    try:
        with Path(os.path.expanduser(place)).open("rb") as file:
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


def check_place(place: str) -> None:
    """Before there is a database: raises `WorkflowUnusable` for a file that is none."""
    if not _NAMED.fullmatch(place):
        read_workflow(place)


def kept(workflow: Graph) -> Kept:
    """The same for the same content, however the file was laid out."""
    document = msgspec.json.encode(workflow, order="deterministic").decode()
    return Kept(hashlib.sha256(document.encode()).hexdigest(), document)


async def opened_workflows(statements: Statements, place: str) -> Workflows:
    """Keeps the workflow of a file, or finds one kept before: `sha256:…`. Raises `WorkflowUnusable`."""
    if named := _NAMED.fullmatch(place):
        found = await _found(statements, named[1])
        if found is None:
            raise WorkflowUnusable("no workflow of this digest is kept")
        _tell_remarks(found)
        return Workflows(statements, named[1], found)
    workflow = read_workflow(place)
    await statements.run(_KEEP, kept(workflow)._asdict())
    _tell_remarks(workflow)
    return Workflows(statements, kept(workflow).digest, workflow)


def _tell_remarks(workflow: Graph) -> None:
    if found := remarks(workflow):
        _logger.warning("workflow: pictures may not be as asked", remarks=found)


def keep_at_start(dsn: str, place: str) -> str:
    """As `opened_workflows`, before any worker runs; returns the name that workers find it by."""
    if named := _NAMED.fullmatch(place):
        with connect_blocking(dsn) as connection:
            found = connection.execute(_FIND, {"digest": named[1]}).fetchone()
        if not found:
            raise WorkflowUnusable("no workflow of this digest is kept")
        read_graph(found[0].encode())
        return place
    made = kept(read_workflow(place))
    with connect_blocking(dsn) as connection:
        connection.execute(_KEEP, made._asdict())
    return f"sha256:{made.digest}"


async def _found(statements: Statements, digest: str) -> Graph | None:
    rows = await statements.run(_FIND, {"digest": digest})
    return msgspec.json.decode(rows[0][0]) if rows else None
