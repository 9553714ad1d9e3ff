"""A like of one picture by one account: given and taken back in turn."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent
from huajuan.domain.refusals import AlreadyLiked, NotLiked


class Like(AggregateRoot):
    """The stream id is derived from account and picture, so there is one stream for each pair."""

    TOPIC = "like"

    class Given(CreatedEvent):
        TOPIC = "like.given"
        account_id: UUID
        image_id: UUID

    class GivenAgain(AggregateRoot.Event):
        TOPIC = "like.given_again"
        account_id: UUID
        image_id: UUID

    class TakenBack(AggregateRoot.Event):
        TOPIC = "like.taken_back"
        account_id: UUID
        image_id: UUID

    @event(Given)
    def __init__(self, account_id: UUID, image_id: UUID) -> None:
        self.account_id = account_id
        self.image_id = image_id
        self.is_active = True

    @classmethod
    def begin(cls, like_id: UUID, account_id: UUID, image_id: UUID) -> Self:
        return cls._create(cls.Given, id=like_id, account_id=account_id, image_id=image_id)

    def give(self) -> None:
        if self.is_active:
            raise AlreadyLiked
        self._give(self.account_id, self.image_id)

    def take_back(self) -> None:
        if not self.is_active:
            raise NotLiked
        self._take_back(self.account_id, self.image_id)

    def withdraw(self) -> None:
        """Take the like back if it is active. Used when its account is erased."""
        if self.is_active:
            self.take_back()

    @event(GivenAgain)
    def _give(self, account_id: UUID, image_id: UUID) -> None:
        self.is_active = True

    @event(TakenBack)
    def _take_back(self, account_id: UUID, image_id: UUID) -> None:
        self.is_active = False
