"""A like: one account likes one picture, or no longer does."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import Begun, Entity
from huajuan.domain.refusals import AlreadyLiked, NotLiked


class Like(Entity):
    """The stream's id is cut from the account and the picture, so there is one for each pair."""

    TOPIC = "like"

    class Given(Begun):
        TOPIC = "like.given"
        account_id: UUID
        image_id: UUID

    class GivenAgain(Entity.Event):
        TOPIC = "like.given_again"
        account_id: UUID
        image_id: UUID

    class TakenBack(Entity.Event):
        TOPIC = "like.taken_back"
        account_id: UUID
        image_id: UUID

    @event(Given)
    def __init__(self, account_id: UUID, image_id: UUID) -> None:
        self.account_id = account_id
        self.image_id = image_id
        self.stands = True

    @classmethod
    def begin(cls, like_id: UUID, account_id: UUID, image_id: UUID) -> Self:
        return cls._create(cls.Given, id=like_id, account_id=account_id, image_id=image_id)

    def give(self) -> None:
        if self.stands:
            raise AlreadyLiked
        self._give(self.account_id, self.image_id)

    def take_back(self) -> None:
        if not self.stands:
            raise NotLiked
        self._take_back(self.account_id, self.image_id)

    def withdraw(self) -> None:
        """It goes with the one who gave it, if it stands."""
        if self.stands:
            self.take_back()

    @event(GivenAgain)
    def _give(self, account_id: UUID, image_id: UUID) -> None:
        self.stands = True

    @event(TakenBack)
    def _take_back(self, account_id: UUID, image_id: UUID) -> None:
        self.stands = False
