"""The image aggregate: requested by an account, then drawn, failed or cancelled exactly once."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent, PersonalText
from huajuan.domain.refusals import ImageAlreadyFinished, ImageNotFound

NOISE_SEED_MAX = 2**64 - 1
_DECIMAL = re.compile(r"0*([0-9]{1,20})")


def noise_seed(seed: str) -> int:
    """Convert a seed to a number from 0 to 2^64-1: a decimal number is kept, other text is hashed."""
    decimal = _DECIMAL.fullmatch(seed)
    if decimal and int(decimal[1]) <= NOISE_SEED_MAX:
        return int(decimal[1])
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8])


@dataclass(frozen=True)
class ImageParameters:
    """The parameters of a requested picture: `width` and `height` in pixels, `seed` any text."""

    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str


class Image(AggregateRoot):
    """One picture, from the request to its outcome. `picture` is the storage key, set when it is drawn."""

    TOPIC = "image"

    class Requested(CreatedEvent):
        """`seed` is the client's text, `noise_seed` the number derived from it; `points` are held for it.

        `workflow` is the digest of the graph to draw with, empty in events from before digests were recorded.
        """

        TOPIC = "image.requested"
        class_version = 2
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
        workflow: str

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["workflow"] = ""

    class Started(AggregateRoot.Event):
        """An inference server accepted the job; `attempt` counts from 1."""

        TOPIC = "image.started"
        attempt: int

    class Drawn(AggregateRoot.Event):
        """`picture` is the storage key, `digest` the SHA-256 of its bytes in hexadecimal.

        `checkpoint` is the model and `painter` the version of the inference server, empty if unknown.
        `size` is the number of bytes, `None` in events from before sizes were recorded.
        """

        TOPIC = "image.drawn"
        class_version = 3
        picture: str
        digest: str
        checkpoint: str
        painter: str
        size: int | None

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["checkpoint"] = state["painter"] = ""

        @staticmethod
        def upcast_v2_v3(state: dict[str, Any]) -> None:
            state["size"] = None

    class DrawingFailed(AggregateRoot.Event):
        TOPIC = "image.drawing_failed"
        reason: str

    class Cancelled(AggregateRoot.Event):
        """The owner cancelled the job, or waited too long for it."""

        TOPIC = "image.cancelled"
        reason: str

    class Deleted(AggregateRoot.Event):
        """The picture may be restored until this time; then its file is removed."""

        TOPIC = "image.deleted"
        until: datetime

    class Restored(AggregateRoot.Event):
        TOPIC = "image.restored"

    class Swept(AggregateRoot.Event):
        TOPIC = "image.swept"

    class Erased(AggregateRoot.Event):
        """The owner was erased, and the picture with them, permanently."""

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
        workflow: str,
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
        self.workflow = workflow
        self.checkpoint = self.painter = self.digest = ""
        self.picture: str | None = None
        self.size: int | None = None
        self.failure: str | None = None
        self.attempts = 0
        self.is_cancelled = False
        self.deleted_until: datetime | None = None
        self.is_swept = False
        self.is_erased = False

    @classmethod
    def request(
        cls,
        image_id: UUID,
        account_id: UUID,
        parameters: ImageParameters,
        points: int,
        deadline: datetime,
        workflow: str = "",
    ) -> Self:
        return cls._create(
            cls.Requested,
            id=image_id,
            account_id=account_id,
            **vars(parameters),
            noise_seed=noise_seed(parameters.seed),
            points=points,
            deadline=deadline,
            workflow=workflow,
        )

    @property
    def is_open(self) -> bool:
        return self.picture is None and self.failure is None

    def start(self) -> None:
        """Record an attempt; a lost attempt is followed by another. Raises `ImageAlreadyFinished`."""
        self._require_open()
        self._start(self.attempts + 1)

    def cancel(self, reason: str) -> None:
        self._require_open()
        self._cancel(reason)

    @property
    def is_visible(self) -> bool:
        return self.picture is not None and self.deleted_until is None and not self.is_erased

    def draw(
        self, picture: str, digest: str, checkpoint: str = "", painter: str = "", size: int | None = None
    ) -> None:
        self._require_open()
        self._draw(picture, digest, checkpoint, painter, size)

    def fail(self, reason: str) -> None:
        self._require_open()
        self._fail(reason)

    def delete(self, account_id: UUID, until: datetime) -> None:
        """Only the owner may delete it. Raises `ImageNotFound` for any other account."""
        if self.account_id != account_id or not self.is_visible:
            raise ImageNotFound
        self._delete(until)

    def restore(self, account_id: UUID, at: datetime) -> None:
        if self.account_id != account_id or not self._may_be_restored(at):
            raise ImageNotFound
        self._restore()

    def _may_be_restored(self, at: datetime) -> bool:
        return self.deleted_until is not None and at <= self.deleted_until and not self.is_erased

    def erase(self) -> None:
        """Erase a finished image; an open one stays until its outcome is recorded."""
        if not self.is_open and not self.is_erased:
            self._erase()

    def sweep(self, at: datetime) -> None:
        """Record that the file is removed, unless the image may still be restored."""
        is_gone = self.is_erased or (self.deleted_until is not None and at > self.deleted_until)
        if is_gone and not self.is_swept:
            self._sweep()

    def _require_open(self) -> None:
        if not self.is_open:
            raise ImageAlreadyFinished

    @event(Started)
    def _start(self, attempt: int) -> None:
        self.attempts = attempt

    @event(Cancelled)
    def _cancel(self, reason: str) -> None:
        self.failure = reason
        self.is_cancelled = True

    @event(Drawn)
    def _draw(self, picture: str, digest: str, checkpoint: str, painter: str, size: int | None) -> None:
        self.picture, self.size = picture, size
        self.digest, self.checkpoint, self.painter = digest, checkpoint, painter

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


def require_visible(image: Image | None) -> Image:
    """Return the image if it is drawn and neither deleted nor erased. Raises `ImageNotFound`."""
    if image is None or not image.is_visible:
        raise ImageNotFound
    return image
