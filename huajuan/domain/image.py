"""An image: asked for by an account, then drawn or failed, exactly once."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.facts import Begun, Entity, PersonalText
from huajuan.domain.refusals import AlreadyTold, ImageNotFound

NOISE_SEED_MAX = 2**64 - 1
_DECIMAL = re.compile(r"0*([0-9]{1,20})")


def noise_seed(seed: str) -> int:
    """The number, 0 to 2^64-1, that a client's seed stands for: itself where it is one, else a hash."""
    decimal = _DECIMAL.fullmatch(seed)
    if decimal and int(decimal[1]) <= NOISE_SEED_MAX:
        return int(decimal[1])
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8])


@dataclass(frozen=True)
class Order:
    """What a client asks to have drawn: sizes in pixels, `seed` any text."""

    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str


class Image(Entity):
    """One picture, from the request to its end. `picture` is the storage key, set when it is drawn."""

    TOPIC = "image"

    class Requested(Begun):
        """`seed` is the client's text, `noise_seed` the number it stands for; `points` are held for it."""

        TOPIC = "image.requested"
        subject = "account_id"
        account_id: UUID
        prompt: PersonalText | None
        width: int
        height: int
        steps: int
        sampling_method: str
        seed: PersonalText | None
        noise_seed: int
        points: int
        deadline: datetime

    class Started(Entity.Event):
        """A painter has taken it up; `attempt` counts from 1."""

        TOPIC = "image.started"
        attempt: int

    class Drawn(Entity.Event):
        """`picture` is the storage key, `digest` the SHA-256 of its bytes in hexadecimal."""

        TOPIC = "image.drawn"
        picture: str
        digest: str

    class DrawingFailed(Entity.Event):
        TOPIC = "image.drawing_failed"
        reason: str

    class Cancelled(Entity.Event):
        """Nobody wants it any more: its owner, or the service when its client had waited too long."""

        TOPIC = "image.cancelled"
        reason: str

    class Deleted(Entity.Event):
        """The picture may be restored until this moment; then its file goes."""

        TOPIC = "image.deleted"
        until: datetime

    class Restored(Entity.Event):
        TOPIC = "image.restored"

    class Swept(Entity.Event):
        """The file is gone for good."""

        TOPIC = "image.swept"

    class Erased(Entity.Event):
        """Its owner is gone, and so is the picture, at once and for good."""

        TOPIC = "image.erased"

    @event(Requested)
    def __init__(
        self,
        account_id: UUID,
        prompt: str | None,
        width: int,
        height: int,
        steps: int,
        sampling_method: str,
        seed: str | None,
        noise_seed: int,
        points: int,
        deadline: datetime,
    ) -> None:
        self.account_id = account_id
        self.prompt: str | None = prompt
        self.width = width
        self.height = height
        self.steps = steps
        self.sampling_method = sampling_method
        self.seed: str | None = seed
        self.noise_seed = noise_seed
        self.points = points
        self.deadline = deadline
        self.picture: str | None = None
        self.failure: str | None = None
        self.attempts = 0
        self.is_cancelled = False
        self.deleted_until: datetime | None = None
        self.is_swept = False
        self.is_erased = False

    @classmethod
    def request(cls, image_id: UUID, account_id: UUID, order: Order, points: int, deadline: datetime) -> Self:
        return cls._create(
            cls.Requested,
            id=image_id,
            account_id=account_id,
            prompt=order.prompt,
            width=order.width,
            height=order.height,
            steps=order.steps,
            sampling_method=order.sampling_method,
            seed=order.seed,
            noise_seed=noise_seed(order.seed),
            points=points,
            deadline=deadline,
        )

    @property
    def is_open(self) -> bool:
        return self.picture is None and self.failure is None

    def start(self) -> None:
        """Again after an attempt that was lost."""
        self._refuse_second_telling()
        self._start(self.attempts + 1)

    def cancel(self, reason: str) -> None:
        self._refuse_second_telling()
        self._cancel(reason)

    def draw(self, picture: str, digest: str) -> None:
        self._refuse_second_telling()
        self._draw(picture, digest)

    def fail(self, reason: str) -> None:
        self._refuse_second_telling()
        self._fail(reason)

    @property
    def is_shown(self) -> bool:
        return self.picture is not None and self.deleted_until is None and not self.is_erased

    def delete(self, account_id: UUID, until: datetime) -> None:
        """By its owner alone; to anybody else it is not there."""
        if self.account_id != account_id or not self.is_shown:
            raise ImageNotFound
        self._delete(until)

    def restore(self, account_id: UUID, at: datetime) -> None:
        if self.account_id != account_id or not self._may_be_restored(at):
            raise ImageNotFound
        self._restore()

    def _may_be_restored(self, at: datetime) -> bool:
        return self.deleted_until is not None and at <= self.deleted_until and not self.is_erased

    def erase(self) -> None:
        """What is still being drawn comes to its end first."""
        if not self.is_open and not self.is_erased:
            self._erase()

    def sweep(self, at: datetime) -> None:
        """What may still be restored stays."""
        is_gone = self.is_erased or (self.deleted_until is not None and at > self.deleted_until)
        if is_gone and not self.is_swept:
            self._sweep()

    def _refuse_second_telling(self) -> None:
        if not self.is_open:
            raise AlreadyTold

    @event(Started)
    def _start(self, attempt: int) -> None:
        self.attempts = attempt

    @event(Cancelled)
    def _cancel(self, reason: str) -> None:
        self.failure = reason
        self.is_cancelled = True

    @event(Drawn)
    def _draw(self, picture: str, digest: str) -> None:
        self.picture = picture

    @event(DrawingFailed)
    def _fail(self, reason: str) -> None:
        self.failure = reason

    @event(Deleted)
    def _delete(self, until: datetime) -> None:
        self.deleted_until = until

    @event(Restored)
    def _restore(self) -> None:
        self.deleted_until = None

    @event(Erased)
    def _erase(self) -> None:
        self.prompt = self.seed = None
        self.is_erased = True

    @event(Swept)
    def _sweep(self) -> None:
        self.is_swept = True


def shown(image: Image | None) -> Image:
    """The image, if it is there to be looked at. Raises `ImageNotFound`."""
    if image is None or not image.is_shown:
        raise ImageNotFound
    return image
