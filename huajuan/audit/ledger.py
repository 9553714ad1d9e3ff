"""The arithmetic of points by event topic, independent of the read tables' folds, so that an error in one
shows.

It shares no code with the domain or the projections; only the event topics are the same.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar
from uuid import UUID

import msgspec

from huajuan.audit.connection import unreadable_event

T = TypeVar("T")

GRANTED, AVAILABLE, HELD, SPENT, DEDUCTED, FORFEITED = range(6)
POTS = ("granted", "available", "held", "spent", "deducted", "forfeited")


class Posting(NamedTuple):
    """An event adds `sign` times the value of its `field` to the pot."""

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


class PointsEvent(msgspec.Struct):
    """The fields of a stored event that an explanation of points needs. A personal `reason` is encrypted."""

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


class PointsAmounts(msgspec.Struct):
    """The amounts alone, which are faster to decode."""

    points: int = 0
    available: int = 0
    held: int = 0
    balance: int | None = None


decode_points_event = msgspec.json.Decoder(PointsEvent).decode
decode_amounts = msgspec.json.Decoder(PointsAmounts).decode


def decode_state(decode: Callable[[bytes], T], state: bytes | None, position: int) -> T:
    """Raises `AuditError` if the state cannot be decoded."""
    try:
        return decode(state or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unreadable_event(position) from None


def empty_pots() -> list[int]:
    """The pots of a new account: 0 each."""
    return [0] * len(POTS)


def post(pots: list[int], topic: str, amounts: PointsAmounts | PointsEvent) -> None:
    """Adds the event's postings to the pots. Raises `KeyError` for a topic that is not in `POSTINGS`."""
    for pot, sign, field in POSTINGS[topic]:
        pots[pot] += sign * getattr(amounts, field)


def find_fault(pots: list[int], amounts: PointsAmounts | PointsEvent) -> str | None:
    """Why the pots after this event are impossible, or `None`."""
    if amounts.balance is not None and amounts.balance != pots[AVAILABLE]:
        computed = pots[AVAILABLE]
        return f"the event says that the balance is {amounts.balance}, its predecessors make it {computed}"
    if pots[HELD] < 0:
        return f"more was settled or returned than was held: {-pots[HELD]} points"
    if surplus := unconserved(pots):
        return f"granted - available - held - spent - deducted - forfeited is {surplus}"
    return None


def unconserved(pots: list[int]) -> int:
    """Points that were created or lost without an event; 0 if the account is correct."""
    return pots[GRANTED] - pots[AVAILABLE] - pots[HELD] - pots[SPENT] - pots[DEDUCTED] - pots[FORFEITED]


def describe_difference(folded: list[int] | None, shown: list[int] | None) -> str | None:
    """How the table's row (`shown`) differs from the log (`folded`); `None` if they are equal.

    An argument of `None` means that the account does not exist there.
    """
    if folded is None or shown is None:
        missing_in = "table" if shown is None else "log"
        return None if folded is shown else f"the {missing_in} does not have the account"
    parts = [
        f"{name} is {there} and the log makes it {here}"
        for name, here, there in zip(POTS, folded, shown, strict=True)
        if here != there
    ]
    return ", ".join(parts) or None
