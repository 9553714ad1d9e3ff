"""The job queue in Postgres: waiting jobs, their order, and the leases of processes on jobs."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from huajuan.event_store.request_context import current_context
from huajuan.postgres.statements import Statements

QUEUE_CHANNEL = "huajuan_queue"
# A job's row keeps at most so many servers that rejected it, and so many that failed in it.
SERVERS_OF_JOB_MAX = 100


class DispatchLimits(msgspec.Struct, frozen=True):
    """Limits of queue and dispatch. `job_seconds_max` is from the request of a picture to its end."""

    job_seconds_max: float = 3600
    jobs_per_account_max: int = 10
    jobs_waiting_max: int = 1000
    queue_full_retry_seconds: int = 10  # the value of Retry-After when the queue is full
    # Of all processes together. With 2 a server is not idle between two pictures; the second job waits in the
    # server's own queue, where no other job can overtake it.
    jobs_per_server_max: int = 2
    attempts_max: int = 3
    lease_seconds: float = 20
    heartbeat_seconds: float = 2
    claim_interval_seconds: float = 1
    # A claimed job whose request is not in the log yet is held for so long before its row is deleted.
    orphan_lease_seconds_max: float = 600
    orphan_lease_pause_seconds: float = 1
    overdue_batch_max: int = 50
    overdue_interval_seconds: float = 5
    no_server_timeout_seconds: float = 30  # waiting jobs fail once no server has answered for so long
    # Readiness reports a problem once no server has answered for so long.
    no_server_problem_seconds: float = 5
    wait_poll_seconds: float = 1
    stop_seconds_max: float = 5
    # A drawn picture waits for so long for an unavailable picture store; then its job fails.
    store_seconds_max: float = 60
    cooldown_seconds_min: float = 1  # the cooldown of a server after a failure, doubled with each further one
    cooldown_seconds_max: float = 60
    unreachable_cooldown_seconds_max: float = 10  # the longest cooldown of a server that does not answer
    server_check_seconds: float = 10  # the interval of health checks of a server without a job
    # The pause between compatibility checks of a server, doubled while it does not answer them.
    compatibility_retry_seconds: float = 10
    compatibility_retry_seconds_max: float = 600
    # The interval at which a process reads which servers an admin added or removed.
    servers_refresh_seconds: float = 2


class QueueFull(Exception):
    """Too many jobs of this account, or of all accounts, are unfinished. Nothing was charged."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class NoServerAvailable(Exception):
    """No inference server has answered for a while. Nothing was charged."""


_OPEN = """
SELECT operations.open_job(%(image)s, %(account)s, %(holder)s, %(seconds)s, %(deadline)s, %(request)s,
                           %(own_max)s, %(all_max)s)
"""
_READY = """
WITH ready AS (UPDATE operations.job_leases
                  SET holder = NULL, expires_at = clock_timestamp(), workflow = %(workflow)s
                WHERE image_id = %(image)s AND holder = %(holder)s AND server IS NULL RETURNING 1)
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, '') FROM ready
"""
_CLAIM = """
SELECT * FROM operations.claim_job(%(server)s, %(holder)s, %(seconds)s, %(most)s, %(others)s::text[],
                                   %(lacking)s::text[], %(checked)s)
"""
_CLAIM_OVERDUE = """
UPDATE operations.job_leases l
   SET holder = %(holder)s, server = NULL, fencing = fencing + 1,
       expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
  FROM (SELECT image_id FROM operations.job_leases
         WHERE expires_at <= clock_timestamp() AND (deadline <= %(now)s OR %(all)s AND NOT EXISTS (
               SELECT FROM operations.job_leases o
                WHERE o.server IS NOT NULL AND o.holder <> %(holder)s AND o.expires_at > clock_timestamp()))
         ORDER BY turn LIMIT %(most)s FOR UPDATE SKIP LOCKED) overdue
 WHERE l.image_id = overdue.image_id
RETURNING l.image_id, l.fencing, extract(epoch FROM clock_timestamp() - l.opened_at)::float8, l.correlation_id
"""
_RENEW = """
UPDATE operations.job_leases l
   SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s), progress = mine.progress
  FROM unnest(%(images)s::uuid[], %(progress)s::float8[]) AS mine(image_id, progress)
 WHERE l.image_id = mine.image_id AND l.holder = %(holder)s
RETURNING l.image_id
"""
_REQUEUE = """
WITH back AS (UPDATE operations.job_leases
                 SET holder = NULL, server = NULL, progress = 0, avoid = %(avoid)s,
                     avoid_until = clock_timestamp() + make_interval(secs => %(avoid_seconds)s),
                     excluded = CASE WHEN %(excluded)s::text IS NULL
                                       OR cardinality(excluded) >= %(servers_max)s
                                     THEN excluded ELSE excluded || %(excluded)s::text END,
                     failed = CASE WHEN %(failed)s::text IS NULL OR cardinality(failed) >= %(servers_max)s
                                   THEN failed ELSE failed || %(failed)s::text END,
                     failed_at = CASE WHEN %(failed)s::text IS NULL THEN failed_at ELSE clock_timestamp() END,
                     expires_at = clock_timestamp() + make_interval(secs => %(pause_seconds)s)
               WHERE image_id = %(image)s AND holder = %(holder)s RETURNING 1)
SELECT pg_notify(%(channel)s, '') FROM back
"""
_CLOSE = """
WITH closed AS (DELETE FROM operations.job_leases WHERE image_id = %(image)s RETURNING image_id)
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, image_id::text) FROM closed
"""
_WITHDRAW = """
DELETE FROM operations.job_leases WHERE image_id = %(image)s AND holder = %(holder)s AND server IS NULL
"""
# A former holder may have stored a picture, so the row of its job stays until the next holder has cleaned up.
# The present holder sees at its next renewal that it has lost the lease.
_END = """
WITH untouched AS (DELETE FROM operations.job_leases WHERE image_id = %(image)s AND fencing = 1),
     touched AS (UPDATE operations.job_leases
                    SET holder = NULL, server = NULL, avoid = NULL, expires_at = clock_timestamp()
                  WHERE image_id = %(image)s AND fencing > 1)
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, %(image)s::text)
"""
_RELEASE_ALL = """
WITH gone AS (UPDATE operations.job_leases SET holder = NULL, server = NULL, expires_at = clock_timestamp()
               WHERE holder = %(holder)s RETURNING 1)
SELECT pg_notify(%(channel)s, '') FROM gone LIMIT 1
"""
_POSITION = """
SELECT coalesce(q.queue_position - 1, 0), q.queue_position IS NULL AND l.server IS NOT NULL, l.progress,
       (SELECT count(server) FROM operations.job_leases w WHERE w.expires_at > clock_timestamp())
  FROM operations.job_leases l LEFT JOIN operations.queue q USING (image_id)
 WHERE l.image_id = %(image)s
"""
_COUNT_WAITING = "SELECT count(*) FROM operations.job_leases WHERE server IS NULL"
_METRICS = """
SELECT count(*) FILTER (WHERE NOT is_running),
       coalesce(extract(epoch FROM clock_timestamp() - min(opened_at) FILTER (WHERE NOT is_running)),
                0)::float8,
       (SELECT coalesce(json_object_agg(r.server, r.jobs), '{}') FROM (
               SELECT server, count(*) AS jobs FROM operations.job_leases
                WHERE server IS NOT NULL AND expires_at > clock_timestamp() GROUP BY server) r)
  FROM (SELECT opened_at, server IS NOT NULL AND expires_at > clock_timestamp() AS is_running
          FROM operations.job_leases) l
"""
# The turn of an account without jobs is obsolete once later turns were given.
_DELETE_OLD_TURNS = """
DELETE FROM operations.queue_turns t
 WHERE NOT EXISTS (SELECT FROM operations.job_leases l WHERE l.account_id = t.account_id)
   AND t.turn < (SELECT coalesce(min(turn), (SELECT last_value FROM operations.queue_turn))
                   FROM operations.job_leases)
"""


class ClaimedJob(NamedTuple):
    """A job that this process holds a lease on. `fencing` counts the holders so far.

    `age_seconds` is since the row was inserted; `correlation_id` is that of the request. `excluded` are the
    servers that rejected the job or would fail in it again, `failed` all that failed in it, the last
    `failed_seconds` ago.
    """

    image_id: UUID
    fencing: int
    age_seconds: float
    correlation_id: str | None
    account_id: UUID | None = None
    excluded: Iterable[str] = ()
    failed: Iterable[str] = ()
    failed_seconds: float | None = None


class QueuePosition(NamedTuple):
    """The number of jobs ahead and of running jobs, whether this one runs, and its progress from 0 to 1."""

    ahead: int
    is_running: bool
    progress: float
    running_jobs: int


class QueueMetrics(NamedTuple):
    """The number of waiting jobs, the age of the oldest, and the number of running jobs by server."""

    waiting: int
    oldest_seconds: float
    running: dict[str, int]


class JobQueue:
    """`holder` identifies this process. A lease that it does not renew expires after `lease_seconds`.

    Every method raises `DatabaseFailure` when the database does not answer.
    """

    def __init__(self, statements: Statements, holder: UUID, limits: DispatchLimits) -> None:
        self._statements = statements
        self._limits = limits
        self._common = {"holder": holder, "seconds": limits.lease_seconds, "channel": QUEUE_CHANNEL}

    async def open(self, image_id: UUID, account_id: UUID, deadline: datetime) -> None:
        """Insert the job, leased to this process, before its request is appended. Raises `QueueFull`."""
        job = {"image": image_id, "account": account_id, "deadline": deadline}
        limits = {"own_max": self._limits.jobs_per_account_max, "all_max": self._limits.jobs_waiting_max}
        ((result,),) = await self._run(_OPEN, **job, **limits, request=current_context().correlation_id)
        if result != "open":
            raise QueueFull(self._limits.queue_full_retry_seconds)

    async def ready(self, image_id: UUID, workflow: str | None = None) -> None:
        """Let any process claim the job: its request is in the log. `workflow` is its workflow's digest."""
        await self._run(_READY, image=image_id, workflow=workflow)

    async def withdraw(self, image_id: UUID) -> None:
        """Delete the job: its request was not appended."""
        await self._run(_WITHDRAW, image=image_id)

    async def claim(
        self,
        server: str,
        jobs_max: int,
        *,
        others: Iterable[str] = (),
        lacking: Iterable[str] = (),
        checked: str | None = None,
    ) -> ClaimedJob | None:
        """Lease the next job for a server that runs fewer than `jobs_max` jobs.

        `others` are the other servers that answer. `lacking` are those servers, this one included, that are
        incompatible with the workflow `checked`.
        """
        servers = {"others": list(others), "lacking": list(lacking), "checked": checked}
        found = await self._run(_CLAIM, **servers, server=server, most=jobs_max)
        return ClaimedJob(*found[0]) if found else None

    async def claim_overdue(self, now: datetime, most: int, *, all_waiting: bool = False) -> list[ClaimedJob]:
        """Lease up to `most` waiting jobs that are past their deadline, to fail them.

        With `all_waiting` any waiting job is overdue, unless another process has a job running at a server.
        """
        rows = await self._run(_CLAIM_OVERDUE, now=now, most=most, all=all_waiting)
        return [ClaimedJob(*row) for row in rows]

    async def renew(self, progress: Mapping[UUID, float]) -> set[UUID]:
        """Renew the leases on these jobs and store their progress. Returns the jobs still leased to us."""
        rows = await self._run(_RENEW, images=list(progress), progress=list(progress.values()))
        return {image_id for (image_id,) in rows}

    async def requeue(
        self,
        image_id: UUID,
        *,
        avoid: str | None = None,
        avoid_seconds: float = 0,
        pause_seconds: float = 0,
        excluded: str | None = None,
        failed: str | None = None,
    ) -> None:
        """Release the job after `pause_seconds`; the server `avoid` does not get it for `avoid_seconds`.

        The server `failed` gets it again only while no other one answers. The server `excluded` rejected it
        or would fail in it again.
        """
        servers = {"avoid": avoid, "excluded": excluded, "failed": failed, "servers_max": SERVERS_OF_JOB_MAX}
        pauses = {"avoid_seconds": avoid_seconds, "pause_seconds": pause_seconds}
        await self._run(_REQUEUE, **servers, **pauses, image=image_id)

    async def close(self, image_id: UUID) -> None:
        """Delete a job that has ended or was never requested, and notify its waiters."""
        await self._run(_CLOSE, image=image_id)

    async def end(self, image_id: UUID) -> None:
        """Notify that the job ended without a picture. Its row stays if a holder may have to clean up."""
        await self._run(_END, image=image_id)

    async def release_all(self) -> None:
        """Release every lease of this process."""
        await self._run(_RELEASE_ALL)

    async def position(self, image_id: UUID) -> QueuePosition | None:
        """`None` for a job that has ended."""
        found = await self._run(_POSITION, image=image_id)
        return QueuePosition(*found[0]) if found else None

    async def waiting(self) -> int:
        """The number of jobs that run at no server."""
        ((count,),) = await self._run(_COUNT_WAITING)
        return int(count)

    async def read_metrics(self) -> QueueMetrics:
        (found,) = await self._run(_METRICS)
        return QueueMetrics(*found)

    async def delete_expired(self) -> None:
        """Delete obsolete turns of accounts."""
        await self._run(_DELETE_OLD_TURNS)

    async def _run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        return await self._statements.run(statement, self._common | values)
