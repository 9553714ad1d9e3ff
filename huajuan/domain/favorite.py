"""A favorite of one picture by one account: added and removed in turn."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent
from huajuan.domain.refusals import AlreadyFavorite, NotFavorite


class Favorite(AggregateRoot):
    """The stream id is derived from account and picture, so there is one stream for each pair."""

    TOPIC = "favorite"

    class Added(CreatedEvent):
        TOPIC = "favorite.added"
        account_id: UUID
        image_id: UUID

    class AddedAgain(AggregateRoot.Event):
        TOPIC = "favorite.added_again"
        account_id: UUID
        image_id: UUID

    class Removed(AggregateRoot.Event):
        TOPIC = "favorite.removed"
        account_id: UUID
        image_id: UUID

    @event(Added)
    def __init__(self, account_id: UUID, image_id: UUID) -> None:
        self.account_id = account_id
        self.image_id = image_id
        self.is_active = True

    @classmethod
    def begin(cls, favorite_id: UUID, account_id: UUID, image_id: UUID) -> Self:
        return cls._create(cls.Added, id=favorite_id, account_id=account_id, image_id=image_id)

    def add(self) -> None:
        if self.is_active:
            raise AlreadyFavorite
        self._add(self.account_id, self.image_id)

    def remove(self) -> None:
        if not self.is_active:
            raise NotFavorite
        self._remove(self.account_id, self.image_id)

    def withdraw(self) -> None:
        """Remove the favorite if it is active. Used when its account is erased."""
        if self.is_active:
            self.remove()

    @event(AddedAgain)
    def _add(self, account_id: UUID, image_id: UUID) -> None:
        self.is_active = True

    @event(Removed)
    def _remove(self, account_id: UUID, image_id: UUID) -> None:
        self.is_active = False
