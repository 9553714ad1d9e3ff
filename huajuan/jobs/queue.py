"""The queue to the painters: which jobs wait, whose turn it is, and which process has which job in hand."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from huajuan.event_store.request_context import caller
from huajuan.jobs.errors import QueueFull
from huajuan.jobs.limits import DispatchLimits
from huajuan.postgres.statements import Statements

QUEUE_CHANNEL = "huajuan_queue"
# So many servers are remembered of a job that refused it, and so many failures.
SERVERS_OF_JOB_MAX = 100
_OPEN = """
SELECT operations.open_job(%(image)s, %(account)s, %(holder)s, %(seconds)s, %(deadline)s, %(request)s, %(own_max)s,
       %(all_max)s)
"""
_READY = """
WITH ready AS (UPDATE operations.job_leases SET holder = NULL, lapses_at = clock_timestamp(), workflow = %(workflow)s
                WHERE image_id = %(image)s AND holder = %(holder)s AND host IS NULL RETURNING 1)
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, '') FROM ready
"""
_CLAIM = """
SELECT * FROM operations.claim_job(%(host)s, %(holder)s, %(seconds)s, %(most)s, %(others)s::text[],
                                   %(lacking)s::text[], %(checked)s)
"""
_CLAIM_OVERDUE = """
UPDATE operations.job_leases l
   SET holder = %(holder)s, host = NULL, fencing = fencing + 1,
       lapses_at = clock_timestamp() + make_interval(secs => %(seconds)s)
  FROM (SELECT image_id FROM operations.job_leases
         WHERE lapses_at <= clock_timestamp() AND (deadline <= %(now)s OR %(all)s AND NOT EXISTS (
               SELECT FROM operations.job_leases o
                WHERE o.host IS NOT NULL AND o.holder <> %(holder)s AND o.lapses_at > clock_timestamp()))
         ORDER BY turn LIMIT %(most)s FOR UPDATE SKIP LOCKED) overdue
 WHERE l.image_id = overdue.image_id
RETURNING l.image_id, l.fencing, extract(epoch FROM clock_timestamp() - l.opened_at)::float8, l.correlation_id
"""
_RENEW = """
UPDATE operations.job_leases l
   SET lapses_at = clock_timestamp() + make_interval(secs => %(seconds)s), progress = mine.progress
  FROM unnest(%(images)s::uuid[], %(progress)s::float8[]) AS mine(image_id, progress)
 WHERE l.image_id = mine.image_id AND l.holder = %(holder)s
RETURNING l.image_id
"""
_PUT_BACK = """
WITH back AS (UPDATE operations.job_leases
                 SET holder = NULL, host = NULL, progress = 0, avoid = %(avoid)s,
                     avoid_until = clock_timestamp() + make_interval(secs => %(avoid_seconds)s),
                     excluded = CASE WHEN %(excluded)s::text IS NULL OR cardinality(excluded) >= %(servers_max)s
                                     THEN excluded ELSE excluded || %(excluded)s::text END,
                     failed = CASE WHEN %(failed)s::text IS NULL OR cardinality(failed) >= %(servers_max)s
                                   THEN failed ELSE failed || %(failed)s::text END,
                     failed_at = CASE WHEN %(failed)s::text IS NULL THEN failed_at ELSE clock_timestamp() END,
                     lapses_at = clock_timestamp() + make_interval(secs => %(pause_seconds)s)
               WHERE image_id = %(image)s AND holder = %(holder)s RETURNING 1)
SELECT pg_notify(%(channel)s, '') FROM back
"""
_CLOSE = """
WITH closed AS (DELETE FROM operations.job_leases WHERE image_id = %(image)s RETURNING image_id)
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, image_id::text) FROM closed
"""
_WITHDRAW = """
DELETE FROM operations.job_leases WHERE image_id = %(image)s AND holder = %(holder)s AND host IS NULL
"""
# Whoever has had it in hand may have stored something, so the row stays for who takes it next and clears up; who
# has it in hand now and does not hear of its end learns that it has lost it.
_END = """
WITH untouched AS (DELETE FROM operations.job_leases WHERE image_id = %(image)s AND fencing = 1),
     touched AS (UPDATE operations.job_leases
                    SET holder = NULL, host = NULL, avoid = NULL, lapses_at = clock_timestamp()
                  WHERE image_id = %(image)s AND fencing > 1)
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, %(image)s::text)
"""
_LET_GO = """
WITH gone AS (UPDATE operations.job_leases SET holder = NULL, host = NULL, lapses_at = clock_timestamp()
               WHERE holder = %(holder)s RETURNING 1)
SELECT pg_notify(%(channel)s, '') FROM gone LIMIT 1
"""
_PLACE = """
SELECT coalesce(q.place - 1, 0), q.place IS NULL AND l.host IS NOT NULL, l.progress,
       (SELECT count(host) FROM operations.job_leases w WHERE w.lapses_at > clock_timestamp())
  FROM operations.job_leases l LEFT JOIN operations.queue q USING (image_id)
 WHERE l.image_id = %(image)s
"""
_WAITING = "SELECT count(*) FROM operations.job_leases WHERE host IS NULL"
_MEASURES = """
SELECT count(*) FILTER (WHERE NOT is_running),
       coalesce(extract(epoch FROM clock_timestamp() - min(opened_at) FILTER (WHERE NOT is_running)), 0)::float8,
       (SELECT coalesce(json_object_agg(r.host, r.jobs), '{}') FROM (
               SELECT host, count(*) AS jobs FROM operations.job_leases
                WHERE host IS NOT NULL AND lapses_at > clock_timestamp() GROUP BY host) r)
  FROM (SELECT opened_at, host IS NOT NULL AND lapses_at > clock_timestamp() AS is_running
          FROM operations.job_leases) l
"""
# Turns of accounts that wait for nothing have no meaning any more once others have had theirs.
_FORGET_TURNS = """
DELETE FROM operations.queue_turns t
 WHERE NOT EXISTS (SELECT FROM operations.job_leases l WHERE l.account_id = t.account_id)
   AND t.turn < (SELECT coalesce(min(turn), (SELECT last_value FROM operations.queue_turn))
                   FROM operations.job_leases)
"""


class Claimed(NamedTuple):
    """A job in hand. `fencing` counts who has had it; `age_seconds` is since it was opened, in answer to the
    request `correlation_id`.

    `excluded` are the servers that refused it or would fail in it again, `failed` all that failed in it, the last
    one `failed_seconds` ago."""

    image_id: UUID
    fencing: int
    age_seconds: float
    correlation_id: str | None
    account_id: UUID | None = None
    excluded: Iterable[str] = ()
    failed: Iterable[str] = ()
    failed_seconds: float | None = None


class Place(NamedTuple):
    """How many jobs are before it, whether a painter has it in hand, how far the drawing is, 0 to 1, and how
    many jobs the painters have in hand."""

    ahead: int
    in_hand: bool
    progress: float
    at_work: int


class QueueMeasures(NamedTuple):
    """How many jobs wait, for how long the oldest of them has, and how many each server has in hand."""

    waiting: int
    oldest_seconds: float
    running: dict[str, int]


class JobQueue:
    """`holder` is this process; a lease it does not renew lapses after `lease_seconds`."""

    def __init__(self, statements: Statements, holder: UUID, limits: DispatchLimits) -> None:
        self._statements = statements
        self._limits = limits
        self._mine = {"holder": holder, "seconds": limits.lease_seconds, "channel": QUEUE_CHANNEL}

    async def open(self, image_id: UUID, account_id: UUID, deadline: datetime) -> None:
        """Before the job is asked for: one without a row would be found by nobody. Raises `QueueFull`."""
        limits = {"own_max": self._limits.jobs_of_account_max, "all_max": self._limits.jobs_waiting_max}
        request = caller().correlation_id
        ((said,),) = await self._run(
            _OPEN, limits, image=image_id, account=account_id, deadline=deadline, request=request
        )
        if said != "open":
            raise QueueFull(self._limits.full_retry_seconds)

    async def ready(self, image_id: UUID, workflow: str | None = None) -> None:
        """Its request is on record: whoever has a painter may take it. `workflow` is the digest of its workflow."""
        await self._run(_READY, image=image_id, workflow=workflow)

    async def withdraw(self, image_id: UUID) -> None:
        """Its request is not on record and will not be."""
        await self._run(_WITHDRAW, image=image_id)

    async def claim(
        self,
        host: str,
        most: int,
        *,
        others: Iterable[str] = (),
        lacking: Iterable[str] = (),
        checked: str | None = None,
    ) -> Claimed | None:
        """The next job for a server that has fewer than `most` in hand.

        `others` are the other servers that answer; of these and this one, `lacking` lack something that the
        workflow `checked` needs.
        """
        servers = {"others": list(others), "lacking": list(lacking), "checked": checked}
        found = await self._run(_CLAIM, servers, host=host, most=most)
        return Claimed(*found[0]) if found else None

    async def claim_overdue(self, now: datetime, most: int, *, all_waiting: bool = False) -> list[Claimed]:
        """Jobs in nobody's hand whose deadline has passed, to be given up; or any that wait, unless another
        process has one at a painter."""
        return [Claimed(*row) for row in await self._run(_CLAIM_OVERDUE, now=now, most=most, all=all_waiting)]

    async def renew(self, progress: Mapping[UUID, float]) -> set[UUID]:
        """How far each is. Returns those that are still ours."""
        images = list(progress)
        rows = await self._run(_RENEW, images=images, progress=[progress[image] for image in images])
        return {image_id for (image_id,) in rows}

    async def put_back(
        self,
        image_id: UUID,
        *,
        avoid: str | None = None,
        avoid_seconds: float = 0,
        pause_seconds: float = 0,
        excluded: str | None = None,
        failed: str | None = None,
    ) -> None:
        """For somebody else, or after a pause: not for the painter `avoid` for a while.

        The server `failed` gets it again only while no other one answers; `excluded` refused it, or would fail again.
        """
        servers = {"avoid": avoid, "excluded": excluded, "failed": failed, "servers_max": SERVERS_OF_JOB_MAX}
        await self._run(
            _PUT_BACK, servers, image=image_id, avoid_seconds=avoid_seconds, pause_seconds=pause_seconds
        )

    async def close(self, image_id: UUID) -> None:
        """The job has ended, or was never asked for. Whoever waits for it hears of it."""
        await self._run(_CLOSE, image=image_id)

    async def end(self, image_id: UUID) -> None:
        """It has ended with no picture. Whoever has it in hand hears of it and closes it, or else who claims it."""
        await self._run(_END, image=image_id)

    async def let_go(self) -> None:
        """All that this process has in hand waits for others at once."""
        await self._run(_LET_GO)

    async def place(self, image_id: UUID) -> Place | None:
        """`None` for a job that has ended."""
        found = await self._run(_PLACE, image=image_id)
        return Place(*found[0]) if found else None

    async def waiting(self) -> int:
        """How many jobs no painter has yet."""
        ((count,),) = await self._run(_WAITING)
        return int(count)

    async def measures(self) -> QueueMeasures:
        (found,) = await self._run(_MEASURES)
        return QueueMeasures(*found)

    async def tidy(self) -> None:
        await self._run(_FORGET_TURNS)

    async def _run(
        self, statement: str, more: Mapping[str, object] | None = None, **values: object
    ) -> list[tuple[Any, ...]]:
        return await self._statements.run(statement, self._mine | values | dict(more or {}))
