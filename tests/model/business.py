"""An in-memory model of the business rules: accounts, pictures, and the refusals that are due."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from huajuan.domain import refusals as r

Refusal = type[r.Refused] | None
WINDOW = timedelta(days=7)


@dataclass(eq=False)
class Person:
    """An account with its point totals."""

    id: UUID
    name: str
    email: str
    granted: int = 0
    available: int = 0
    spent: int = 0
    deducted: int = 0
    forfeited: int = 0
    last_day: int | None = None
    is_banned: bool = False
    is_erased: bool = False

    def points(self) -> tuple[int, ...]:
        """Return granted, available, held, spent, deducted, forfeited. No points stay held between steps."""
        return self.granted, self.available, 0, self.spent, self.deducted, self.forfeited


@dataclass(eq=False)
class Picture:
    """A drawn picture; `likes` and `favorites` are account ids."""

    id: UUID
    owner: Person
    restorable_until: datetime | None = None
    is_erased: bool = False
    likes: set[UUID] = field(default_factory=set)
    favorites: set[UUID] = field(default_factory=set)

    @property
    def is_visible(self) -> bool:
        return self.restorable_until is None and not self.is_erased


class Business:
    """`refusal_to_…` returns the refusal that a command must raise, `None` if it must succeed.

    The other methods apply a command that succeeded.
    """

    def __init__(self) -> None:
        self.people: list[Person] = []
        self.pictures: list[Picture] = []

    def refusal_to_register(self, name: str, email: str) -> Refusal:
        if any(person.name == name for person in self.people):
            return r.UsernameTaken
        return r.EmailTaken if self.account_with_email(email) else None

    def account_with_email(self, email: str) -> Person | None:
        folded = email.casefold()
        return next((p for p in self.people if not p.is_erased and p.email.casefold() == folded), None)

    def refusal_to_log_in(self, person: Person) -> Refusal:
        if person.is_erased:
            return r.NotRegistered
        return r.AccountBanned if person.is_banned else None

    def refusal_to_check_in(self, person: Person, day: int) -> Refusal:
        return r.NotRegistered if person.is_erased else r.AlreadyCheckedIn if person.last_day == day else None

    def refusal_to_generate(self, person: Person) -> Refusal:
        return r.NotRegistered if person.is_erased else r.NotEnoughPoints if person.available < 20 else None

    def refusal_to_adjust(self, person: Person, change: int, *, forced: bool) -> Refusal:
        if person.is_erased:
            return r.NotRegistered
        return r.NotEnoughPoints if person.available + change < 0 and change < 0 and not forced else None

    def refusal_to_change_email(self, person: Person, email: str) -> Refusal:
        if person.is_erased:
            return r.NotRegistered
        return None if self.account_with_email(email) in (None, person) else r.EmailTaken

    def refusal_to_delete(self, person: Person, picture: Picture) -> Refusal:
        return None if picture.is_visible and picture.owner is person else r.ImageNotFound

    def refusal_to_restore(self, person: Person, picture: Picture, at: datetime) -> Refusal:
        until = picture.restorable_until
        may = picture.owner is person and not picture.is_erased and until is not None and at <= until
        return None if may else r.ImageNotFound

    def refusal_to_like(self, person: Person, picture: Picture, *, back: bool) -> Refusal:
        if not picture.is_visible:
            return r.ImageNotFound
        if back:
            return None if person.id in picture.likes else r.NotLiked
        return r.AlreadyLiked if person.id in picture.likes else None

    def refusal_to_favorite(self, person: Person, picture: Picture, *, back: bool) -> Refusal:
        if back:
            return None if person.id in picture.favorites else r.NotFavorite
        if not picture.is_visible:
            return r.ImageNotFound
        return r.AlreadyFavorite if person.id in picture.favorites else None

    def grant(self, person: Person, points: int) -> None:
        person.granted += points
        person.available += points

    def deduct(self, person: Person, points: int) -> None:
        person.available -= points
        person.deducted += points

    def draw(self, person: Person, image_id: UUID) -> None:
        person.available -= 20
        person.spent += 20
        self.pictures.append(Picture(image_id, person))

    def erase(self, person: Person) -> None:
        person.forfeited += person.available
        person.available = 0
        person.is_erased = True
        for picture in self.pictures:
            picture.likes.discard(person.id)
            picture.favorites.discard(person.id)
            picture.is_erased |= picture.owner is person
