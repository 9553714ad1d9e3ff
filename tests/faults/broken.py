"""Builds broken on purpose, as a careless change might break them. The kill matrix must detect each."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from huajuan.domain.account import Account, require_account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.image import Image
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.inference_client import ComfyUI, Drawn
from huajuan.jobs import runner
from huajuan.jobs.outcomes import JobOutcome, record_drawn
from huajuan.jobs.runner import JobRunner
from huajuan.jobs.running_job import RunningJob
from huajuan.jobs.servers import JobLookup, ServerPool
from huajuan.runtime.fail_points import at
from huajuan.storage.pictures import picture_key


def break_(how: str) -> None:
    """Break the build in this process. An empty name breaks nothing."""
    if how:
        BROKEN[how]()


def settle_before_store() -> None:
    _replace(JobRunner, "_store_and_record", _record_before_storing)


def return_without_record() -> None:
    _replace(runner, "record_failed", _return_then_record)


def resend_without_look_up() -> None:
    """Skip both look-ups before a job is sent: the dispatcher's at all servers and the client's own."""
    _replace(ServerPool, "find_job", _find_nothing)
    _replace(ComfyUI, "_is_known", _never_known)


async def _record_before_storing(self: JobRunner, job: RunningJob, image: Image, made: Drawn) -> None:
    job.is_ending = True
    ending = await record_drawn(self.store, image, picture_key(image.id), made)
    at("tell.appended")
    await self.pictures.put(image.id, made.content)
    at("draw.stored")
    await self.cleanup.close(image, ending, job)


async def _return_then_record(store: EventStore, image: Image, reason: str) -> JobOutcome:
    def return_points(account: Account | None) -> Iterable[AggregateRoot]:
        require_account(account).return_points(image.id, reason)
        return [require_account(account)]

    def record(image: Image | None) -> Iterable[AggregateRoot]:
        assert image
        image.fail(reason)
        return [image]

    returned = await store.change(return_points, Stream(Account, image.account_id))
    at("fail.appended")
    decided = await store.change(record, Stream(Image, image.id))
    return JobOutcome(None, reason, returned.aggregates[0].balance, decided.position)


async def _find_nothing(_: ServerPool, __: UUID) -> JobLookup:
    return JobLookup(None, set())


async def _never_known(_: ComfyUI, __: UUID) -> bool:
    return False


def _replace(owner: Any, name: str, by: Any) -> None:
    assert hasattr(owner, name), name
    setattr(owner, name, by)


BROKEN: dict[str, Callable[[], None]] = {
    broken.__name__: broken for broken in (settle_before_store, return_without_record, resend_without_look_up)
}
