"""Versions of read tables: which ones are served from, and the end of those that no process has used for long."""

import asyncio
from collections.abc import Sequence

import psycopg
import structlog

from huajuan.event_store.errors import LogError
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.projection import Projection

NOTE_USE = """
INSERT INTO operations.tables_in_use (schema, seen_at) SELECT used, now() FROM unnest(%(schemas)s::text[]) used
ON CONFLICT (schema) DO UPDATE SET seen_at = now()
"""
_UNUSED = """
SELECT c.projection FROM operations.checkpoints c LEFT JOIN operations.tables_in_use u ON u.schema = c.projection
 WHERE c.projection = ANY(%(older)s)
   AND greatest(u.seen_at, c.moved_at) < now() - make_interval(hours => 1) * %(hours)s
"""
DROP_UNUSED = "SELECT operations.drop_version_unused(%(schema)s, %(hours)s)"
_logger = structlog.get_logger(__name__)


async def note_use(statements: Statements, projections: Sequence[Projection]) -> None:
    """This process serves from these tables."""
    await statements.run(NOTE_USE, {"schemas": [projection.schema for projection in projections]})


async def drop_unused(statements: Statements, projections: Sequence[Projection], hours: float) -> list[str]:
    """Older versions of these that no process has used for `hours`; returns which."""
    older = [f"{p.name}_v{version}" for p in projections for version in range(1, p.version)]
    unused = [s for (s,) in await statements.run(_UNUSED, {"older": older, "hours": hours})] if older else []
    return [schema for schema in unused if await _drop(statements, schema, hours)]


async def _drop(statements: Statements, schema: str, hours: float) -> bool:
    ((is_dropped,),) = await statements.run(DROP_UNUSED, {"schema": schema, "hours": hours})
    if is_dropped:
        _logger.info("dropped an unused version", schema=schema)
    return bool(is_dropped)


async def keep_versions(
    statements: Statements, projections: Sequence[Projection], every_seconds: float, unused_hours: float
) -> None:
    """For ever: at once, then on a timer."""
    while True:
        try:
            await note_use(statements, projections)
            await drop_unused(statements, projections, unused_hours)
        except (LogError, psycopg.Error) as error:
            _logger.warning("versions left for later", error=type(error).__name__)
        await asyncio.sleep(every_seconds)
