"""What the controllers have at hand."""

from dataclasses import dataclass

from litestar.di import NamedDependency

from huajuan.dispatch.avatar_files import AvatarFiles
from huajuan.dispatch.dispatcher import Dispatcher
from huajuan.dispatch.erasures import Erasures
from huajuan.dispatch.queue import JobQueue
from huajuan.dispatch.room import DrawingRoom
from huajuan.dispatch.trash import Trash
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.store import EventStore
from huajuan.event_store.stream_reader import StreamReader
from huajuan.health import HealthChecks
from huajuan.http.auditors import Auditors
from huajuan.http.followers import Followers
from huajuan.http.memory import Memory
from huajuan.http.tokens import Tokens
from huajuan.passwords import Passwords
from huajuan.pictures import Pictures
from huajuan.portraits import Portraits
from huajuan.projections.points_audit import PointsAudit
from huajuan.projections.projection import Projection
from huajuan.projections.projector import Projector
from huajuan.projections.questions import ReadTables
from huajuan.projections.tenancy import Tenancy
from huajuan.serving.rebuilding import RebuildProcesses
from huajuan.sessions.attempts import Attempts
from huajuan.sessions.idempotency import Idempotency
from huajuan.sessions.keyed_requests import RequestNames
from huajuan.sessions.registrations import Registrations
from huajuan.sessions.sessions import Sessions
from huajuan.settings import Settings


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
