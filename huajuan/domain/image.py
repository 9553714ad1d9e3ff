"""An image: asked for by an account, then drawn or failed, exactly once."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import Begun, Entity, PersonalText
from huajuan.domain.image_parameters import Order, noise_seed
from huajuan.domain.refusals import AlreadyTold, ImageNotFound


class Image(Entity):
    """One picture, from the request to its end. `picture` is the storage key, set when it is drawn."""

    TOPIC = "image"

    class Requested(Begun):
        """`seed` is the client's text, `noise_seed` the number it stands for; `points` are held for it.

        `workflow` is the digest of the graph it is to be drawn with, empty before digests were recorded.
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

    class Started(Entity.Event):
        """A painter has taken it up; `attempt` counts from 1."""

        TOPIC = "image.started"
        attempt: int

    class Drawn(Entity.Event):
        """`picture` is the storage key, `digest` the SHA-256 of its bytes in hexadecimal.

        `checkpoint` is the model that drew and `painter` the server's version, empty where unknown. `size` is the
        number of bytes, `None` before sizes were recorded.
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

    class DrawingFailed(Entity.Event):
        TOPIC = "image.drawing_failed"
        reason: str

    class Cancelled(Entity.Event):
        """Its owner does not want it any more, or has waited too long for it."""

        TOPIC = "image.cancelled"
        reason: str

    class Deleted(Entity.Event):
        """The picture may be restored until this moment; then its file goes."""

        TOPIC = "image.deleted"
        until: datetime

    class Restored(Entity.Event):
        TOPIC = "image.restored"

    class Swept(Entity.Event):
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
        order: Order,
        points: int,
        deadline: datetime,
        workflow: str = "",
    ) -> Self:
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
            workflow=workflow,
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

    @property
    def is_shown(self) -> bool:
        return self.picture is not None and self.deleted_until is None and not self.is_erased

    def draw(
        self, picture: str, digest: str, checkpoint: str = "", painter: str = "", size: int | None = None
    ) -> None:
        self._refuse_second_telling()
        self._draw(picture, digest, checkpoint, painter, size)

    def fail(self, reason: str) -> None:
        self._refuse_second_telling()
        self._fail(reason)

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


def shown(image: Image | None) -> Image:
    """The image, if it is there to be looked at. Raises `ImageNotFound`."""
    if image is None or not image.is_shown:
        raise ImageNotFound
    return image
