"""The arithmetic of points, by topic: written apart from the read tables' folds, so that an error in one shows.

Nothing of the domain or of the projections is used here but the names of the topics, as the log has them.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar
from uuid import UUID

import msgspec

from huajuan.audit.errors import unreadable

T = TypeVar("T")

GRANTED, AVAILABLE, HELD, SPENT, DEDUCTED, FORFEITED = range(6)
POTS = ("granted", "available", "held", "spent", "deducted", "forfeited")


class Posting(NamedTuple):
    """What an event does to one pot: `sign` times the amount that it has in this field."""

    pot: int
    sign: int
    field: str = "points"


POSTINGS: Mapping[str, tuple[Posting, ...]] = {
    "account.registered": (),
    "account.points_granted": (Posting(GRANTED, 1), Posting(AVAILABLE, 1)),
    "account.checked_in": (Posting(GRANTED, 1), Posting(AVAILABLE, 1)),
    "account.check_in_reset": (),
    "account.points_held": (Posting(AVAILABLE, -1), Posting(HELD, 1)),
    "account.points_settled": (Posting(HELD, -1), Posting(SPENT, 1)),
    "account.points_returned": (Posting(HELD, -1), Posting(AVAILABLE, 1)),
    "account.points_deducted": (Posting(AVAILABLE, -1), Posting(DEDUCTED, 1)),
    "account.erased": (
        Posting(AVAILABLE, -1, "available"),
        Posting(HELD, -1, "held"),
        Posting(FORFEITED, 1, "available"),
        Posting(FORFEITED, 1, "held"),
    ),
}
TOPICS = list(POSTINGS)


class Fact(msgspec.Struct):
    """What of a stored event's state concerns points, and who and what it was about.

    `reason` is sealed in some: see `reasons.py`.
    """

    timestamp: str
    points: int = 0
    available: int = 0
    held: int = 0
    balance: int | None = None
    reason: str | None = None
    image_id: UUID | None = None
    actor: UUID | None = None
    correlation_id: str | None = None
    class_version: int = 1


class Amounts(msgspec.Struct):
    """The numbers alone, where nothing else is needed."""

    points: int = 0
    available: int = 0
    held: int = 0
    balance: int | None = None


fact_of = msgspec.json.Decoder(Fact).decode
amounts_of = msgspec.json.Decoder(Amounts).decode


def read_state(decode: Callable[[bytes], T], state: bytes | None, position: int) -> T:
    """Raises `AuditError` for a state that none of ours could be."""
    try:
        return decode(state or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unreadable(position) from None


def nothing() -> list[int]:
    """The pots of a new account."""
    return [0] * len(POTS)


def post(pots: list[int], topic: str, amounts: Amounts | Fact) -> None:
    """Do to the pots what the event did. An event whose topic is not listed has nothing to do with points."""
    for pot, sign, field in POSTINGS[topic]:
        pots[pot] += sign * getattr(amounts, field)


def fault_of(pots: list[int], amounts: Amounts | Fact) -> str | None:
    """Why what the log says cannot be, after this event."""
    if amounts.balance is not None and amounts.balance != pots[AVAILABLE]:
        return f"the event says that the balance is {amounts.balance}, its predecessors make it {pots[AVAILABLE]}"
    if pots[HELD] < 0:
        return f"more was settled or returned than was held: {-pots[HELD]} points"
    if surplus := unconserved(pots):
        return f"granted - available - held - spent - deducted - forfeited is {surplus}"
    return None


def unconserved(pots: list[int]) -> int:
    """Points that came from nowhere or are lost: 0, or somebody erred."""
    return pots[GRANTED] - pots[AVAILABLE] - pots[HELD] - pots[SPENT] - pots[DEDUCTED] - pots[FORFEITED]


def difference(folded: list[int] | None, shown: list[int] | None) -> str | None:
    """How a row of the table differs from what the log comes to; `None` is an account that is not there."""
    if folded is None or shown is None:
        return (
            None
            if folded is shown
            else f"the {'table' if shown is None else 'log'} knows nothing of the account"
        )
    parts = [
        f"{name} is {there} and the log makes it {here}"
        for name, here, there in zip(POTS, folded, shown, strict=True)
        if here != there
    ]
    return ", ".join(parts) or None
