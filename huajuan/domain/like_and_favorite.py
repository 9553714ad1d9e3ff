"""Likes and favorites of a picture by an account: each is given, or added, and taken back in turn.

The stream ids are derived from account and picture, so there is one stream for each pair.
"""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent
from huajuan.domain.refusals import AlreadyFavorite, AlreadyLiked, NotFavorite, NotLiked


class Like(AggregateRoot):
    """A like of one picture by one account."""

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


class Favorite(AggregateRoot):
    """A favorite of one picture by one account."""

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
