"""What the controllers have at hand."""

from dataclasses import dataclass

from litestar.di import NamedDependency

from huajuan.auth.login_attempts import Attempts
from huajuan.auth.passwords import Passwords
from huajuan.auth.registrations import Registrations
from huajuan.auth.sessions import Sessions
from huajuan.auth.tokens import Tokens
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.store import EventStore
from huajuan.event_store.stream_reader import StreamReader
from huajuan.http.audit_pool import Auditors
from huajuan.http.sse_hub import Followers
from huajuan.idempotency.keys import RequestNames
from huajuan.idempotency.service import Idempotency
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.jobs.queue import JobQueue
from huajuan.jobs.runner import DrawingRoom
from huajuan.observability.health import HealthChecks
from huajuan.projections.engine.points_audit import PointsAudit
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.projector import Projector
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.rebuild.process import RebuildProcesses
from huajuan.response_cache.cache import Memory
from huajuan.response_cache.lease import Tenancy
from huajuan.settings import Settings
from huajuan.storage.avatar_files import AvatarFiles
from huajuan.storage.avatars import Portraits
from huajuan.storage.deleted_pictures import Trash
from huajuan.storage.erasures import Erasures
from huajuan.storage.pictures import Pictures


@dataclass(frozen=True)
class Desk:
    """One a process."""

    settings: Settings
    store: EventStore
    projector: Projector
    tables: ReadTables
    health: HealthChecks
    points_audit: PointsAudit
    passwords: Passwords
    tokens: Tokens
    sessions: Sessions
    attempts: Attempts
    registrations: Registrations
    request_names: RequestNames
    idempotency: Idempotency
    room: DrawingRoom
    dispatcher: Dispatcher
    queue: JobQueue
    streams: StreamReader
    followers: Followers
    pictures: Pictures
    avatars: AvatarFiles
    portraits: Portraits
    trash: Trash
    erasures: Erasures
    rebuilds: RebuildProcesses
    auditors: Auditors
    tenancy: Tenancy
    memory: Memory

    async def show(self, position: int, *projections: Projection) -> None:
        """Wait until these tables show what was just appended, within a bound.

        A success is told all the same when they do not: what is committed is never reported as failed.
        """
        seconds_max = self.settings.read_own_writes_seconds_max
        with after_commit("wait for read tables"):
            await self.projector.reach(position, *projections, seconds_max=seconds_max)


AtDesk = NamedDependency[Desk]
