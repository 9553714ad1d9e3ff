"""Builds broken on purpose, as a careless change might break them: the kill matrix must find each."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.domain.image import Image
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.inference_client import ComfyUI, Drawn
from huajuan.jobs import runner
from huajuan.jobs.outcomes import Ending, tell_drawn
from huajuan.jobs.runner import DrawingRoom
from huajuan.jobs.running_job import JobInHand
from huajuan.jobs.servers import Looked, Painters
from huajuan.runtime.fail_points import at
from huajuan.storage.pictures import key_of


def break_(how: str) -> None:
    """In this process, from here on. Nothing by the empty name."""
    if how:
        BROKEN[how]()


def settle_before_store() -> None:
    _replace(DrawingRoom, "_keep_and_tell", _tell_and_keep)


def return_without_record() -> None:
    _replace(runner, "tell_failed", _return_then_record)


def resend_without_look_up() -> None:
    """Both looks are left out, ours at every painter and the client's own before it sends."""
    _replace(Painters, "look_for", _look_nowhere)
    _replace(ComfyUI, "_is_known", _never_known)


async def _tell_and_keep(self: DrawingRoom, job: JobInHand, image: Image, made: Drawn) -> None:
    job.is_told = True
    ending = await tell_drawn(self.store, image, key_of(image.id), made)
    at("tell.appended")
    await self.pictures.put(image.id, made.content)
    at("draw.stored")
    await self.closing.close(image, ending, job)


async def _return_then_record(store: EventStore, image: Image, reason: str) -> Ending:
    def give_back(account: Account | None) -> Iterable[Entity]:
        known(account).take_back(image.id, reason)
        return [known(account)]

    def record(image: Image | None) -> Iterable[Entity]:
        assert image
        image.fail(reason)
        return [image]

    returned = await store.change(give_back, Stream(Account, image.account_id))
    at("fail.appended")
    decided = await store.change(record, Stream(Image, image.id))
    return Ending(None, reason, returned.aggregates[0].balance, decided.position)


async def _look_nowhere(_: Painters, __: UUID) -> Looked:
    return Looked(None, set())


async def _never_known(_: ComfyUI, __: UUID) -> bool:
    return False


def _replace(owner: Any, name: str, by: Any) -> None:
    assert hasattr(owner, name), name
    setattr(owner, name, by)


BROKEN: dict[str, Callable[[], None]] = {
    broken.__name__: broken for broken in (settle_before_store, return_without_record, resend_without_look_up)
}
