"""Determines the kind of damage from the rows around the first row that does not follow in the hash chain.

- *missing*: positions are missing, and the row after them does not follow from the row before them.
- *renumbered*: positions are missing, but the links continue across them.
- *swapped*: the chain is intact when two rows, or their contents, are exchanged.
- *inserted*: a later row follows from the row before the inserted ones. *duplicated*: the row has the content
  of the row before it.
- *moved*: the row that belongs at this position is stored at a later one.
- *changed*: the content does not match the row's link, but the next row follows from that link; or only the
  link was changed, and the next row follows from the link of the content.
- *replaced*: none of these; no later row nearby follows.

A chain that was rewritten completely has no break: only a head published before shows it. If it was rewritten
up to a row, the next row is the first that can be shown to be bad.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from huajuan.audit.hash_chain import Row, link

Kind = Literal[
    "missing",
    "renumbered",
    "swapped",
    "inserted",
    "duplicated",
    "moved",
    "changed",
    "replaced",
    "truncated",
    "unreadable",
    "gap",
]


@dataclass(frozen=True)
class Damage:
    """`position` is the first bad one; `says` is a description in one sentence."""

    position: int
    kind: Kind
    says: str


@dataclass(frozen=True)
class ChainBreak:
    """`position`, `chain` and `before` are of the last good row; `rows` begin with the first bad one."""

    position: int
    chain: bytes
    rows: Sequence[Row]
    before: Row | None = None

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def expected(self) -> int:
        return self.position + 1

    @property
    def bad(self) -> int:
        """The position to report. A first row with a position below 1 is reported with its own position."""
        return self.first.position if self.position == 0 and self.first.position < 1 else self.expected


def diagnose_damage(at: ChainBreak) -> Damage:
    """Needs at least one row; with more rows, a swapped or moved row is found further away."""
    for check in _CHECKS:
        found = check(at)
        if found:
            return Damage(at.bad, *found)
    return Damage(at.bad, "replaced", "neither its content nor a later row follows from the row before")


Found = tuple[Kind, str] | None


def _swapped_rows(at: ChainBreak) -> Found:
    """Complete rows with their links; in a file the positions may be unchanged."""
    for number, row in enumerate(at.rows[1:], 1):
        if row.follows(at.chain):
            before = row.chain if number == 1 else at.rows[number - 1].chain
            if at.first.follows(before):
                return "swapped", f"it and the row at {at.expected + number} are exchanged"
    return None


def _swapped_contents(at: ChainBreak) -> Found:
    """Contents without their links."""
    for number, (before, row) in enumerate(pairwise(at.rows), 1):
        ours = link(at.chain, row.content) == at.first.chain
        if ours and link(before.chain, at.first.content) == row.chain:
            return "swapped", f"its content and that of {at.expected + number} are exchanged"
    return None


def _repeated(at: ChainBreak) -> Found:
    if at.before is None or at.first.content != at.before.content:
        return None
    return "duplicated", f"its content repeats that of the row at {at.position}"


def _gap(at: ChainBreak) -> Found:
    if at.first.position <= at.expected:
        return None
    last = at.first.position - 1
    if at.first.follows(at.chain):
        return (
            "renumbered",
            f"positions {at.expected} to {last} are skipped, but the links continue: no row is missing",
        )
    return "missing", f"there is no row at positions {at.expected} to {last}"


def _inserted(at: ChainBreak) -> Found:
    for number, row in enumerate(at.rows[1:], 1):
        if row.follows(at.chain):
            return _inserted_or_moved(at, number)
    return None


def _inserted_or_moved(at: ChainBreak, number: int) -> Found:
    """If the row after the following one continues the chain, the rows before were inserted, else moved."""
    later = at.rows[number + 1 : number + 2]
    if later and not later[0].follows(at.rows[number].chain):
        return "moved", f"the row that belongs here is {number} rows further on"
    last = at.rows[number - 1].position
    which = "it does" if number == 1 else f"the rows up to {last} do"
    return "inserted", f"{which} not belong here: the row after follows from the row before"


def _too_low(at: ChainBreak) -> Found:
    if at.first.position >= at.expected:
        return None
    return "inserted", f"a row with position {at.first.position} is stored where {at.expected} is expected"


def _changed(at: ChainBreak) -> Found:
    if len(at.rows) == 1:
        return (
            "changed",
            "its content does not match its link; no later row shows which of them is wrong",
        )
    after = at.rows[1]
    if after.follows(at.first.chain):
        return "changed", (
            "its content does not match its link, and the next row follows from that link: it was changed, "
            "or rows before it were changed, added or removed and then renumbered and relinked up to here"
        )
    if after.follows(link(at.chain, at.first.content)):
        return "changed", "its link was changed: the next row follows from the link of its content"
    return None


_CHECKS: tuple[Callable[[ChainBreak], Found], ...] = (
    _swapped_rows,
    _swapped_contents,
    _repeated,
    _gap,
    _inserted,
    _too_low,
    _changed,
)
