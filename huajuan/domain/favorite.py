"""A favorite: one account keeps one picture, or no longer does."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import Begun, Entity
from huajuan.domain.refusals import AlreadyFavorite, NotFavorite


class Favorite(Entity):
    """The stream's id is cut from the account and the picture, so there is one for each pair."""

    TOPIC = "favorite"

    class Added(Begun):
        TOPIC = "favorite.added"
        account_id: UUID
        image_id: UUID

    class AddedAgain(Entity.Event):
        TOPIC = "favorite.added_again"
        account_id: UUID
        image_id: UUID

    class Removed(Entity.Event):
        TOPIC = "favorite.removed"
        account_id: UUID
        image_id: UUID

    @event(Added)
    def __init__(self, account_id: UUID, image_id: UUID) -> None:
        self.account_id = account_id
        self.image_id = image_id
        self.stands = True

    @classmethod
    def begin(cls, favorite_id: UUID, account_id: UUID, image_id: UUID) -> Self:
        return cls._create(cls.Added, id=favorite_id, account_id=account_id, image_id=image_id)

    def add(self) -> None:
        if self.stands:
            raise AlreadyFavorite
        self._add(self.account_id, self.image_id)

    def remove(self) -> None:
        if not self.stands:
            raise NotFavorite
        self._remove(self.account_id, self.image_id)

    def withdraw(self) -> None:
        """It goes with the one who added it, if it stands."""
        if self.stands:
            self.remove()

    @event(AddedAgain)
    def _add(self, account_id: UUID, image_id: UUID) -> None:
        self.stands = True

    @event(Removed)
    def _remove(self, account_id: UUID, image_id: UUID) -> None:
        self.stands = False
