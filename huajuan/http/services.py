"""The services of a worker process. A route handler declares those it uses as parameters of these names."""

from dataclasses import dataclass

from huajuan.auth.passwords import Passwords
from huajuan.auth.rate_limits import LoginAttempts, RegistrationAttempts
from huajuan.auth.sessions import Sessions, Tokens
from huajuan.event_store.log_reader import StreamReader
from huajuan.event_store.store import EventStore, after_commit
from huajuan.http.audit_pool import AuditPool
from huajuan.http.generation_status import JobViews
from huajuan.http.sse_hub import SseHub
from huajuan.idempotency.service import Idempotency, IdempotencyKeys
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.jobs.queue import JobQueue
from huajuan.jobs.runner import JobRunner
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.runner import Projector
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.queries.points import PointsAudit
from huajuan.projections.rebuild.process import RebuildProcesses
from huajuan.response_cache.cache import ResponseCache
from huajuan.runtime.health import HealthChecks
from huajuan.settings import Settings
from huajuan.storage.avatars import AvatarMaker
from huajuan.storage.deletions import AvatarFiles, DeletedPictures, Erasures
from huajuan.storage.pictures import Pictures


@dataclass(frozen=True)
class ReadYourWrites:
    """Lets a response wait until the read tables contain what the request appended."""

    projector: Projector
    seconds_max: float

    async def wait_for(self, position: int, *projections: Projection) -> None:
        """Wait until the tables have folded `position`, within a time limit.

        After the limit the request still succeeds: a committed change is never reported as failed.
        """
        with after_commit("wait for read tables"):
            await self.projector.wait_for_position(position, *projections, seconds_max=self.seconds_max)


@dataclass(frozen=True)
class Services:
    """Built once a process by `huajuan.bootstrap`."""

    settings: Settings
    # commands
    store: EventStore
    read_your_writes: ReadYourWrites
    # queries
    projector: Projector
    tables: ReadTables
    streams: StreamReader
    job_views: JobViews
    sse_hub: SseHub
    # accounts
    passwords: Passwords
    tokens: Tokens
    sessions: Sessions
    attempts: LoginAttempts
    registrations: RegistrationAttempts
    # jobs
    job_runner: JobRunner
    dispatcher: Dispatcher
    queue: JobQueue
    # stored files
    pictures: Pictures
    avatars: AvatarFiles
    avatar_maker: AvatarMaker
    deleted_pictures: DeletedPictures
    erasures: Erasures
    # operations
    health: HealthChecks
    points_audit: PointsAudit
    rebuilds: RebuildProcesses
    audit_pool: AuditPool
    # middleware
    idempotency_keys: IdempotencyKeys
    idempotency: Idempotency
    response_cache: ResponseCache
