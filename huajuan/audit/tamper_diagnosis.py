"""Names the kind of damage from the rows around the first that does not follow, and claims no more than they show.

- *missing*: the positions leave a gap, and the row behind it does not follow from the row before it.
- *renumbered*: a gap too, but the links go on across it.
- *swapped*: two rows follow when they, or their contents, are exchanged.
- *inserted*: a later row follows from the row before the foreign ones; *duplicated*: it has the content of
  the row before it.
- *moved*: the row that belongs here stands further on.
- *changed*: the row's content does not make its link, yet what follows goes on from that link; or only the link
  was changed, and what follows goes on from the link that the content makes.
- *replaced*: none of these; nothing nearby follows.

A chain that was rewritten as a whole breaks nowhere; then only a head published before can tell. Where it was
rewritten up to a row, that row's successor is the first that can be shown to be bad.
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
    """`position` is the first bad one; `says` what is known of it, in a sentence."""

    position: int
    kind: Kind
    says: str


@dataclass(frozen=True)
class Break:
    """`rows` are those from the first bad one on; the last good one has `position` and `chain`, and may be `before`."""

    position: int
    chain: bytes
    rows: Sequence[Row]
    before: Row | None = None

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def due(self) -> int:
        return self.position + 1

    @property
    def bad(self) -> int:
        """The position to be named: a row before the first has one that no row may have."""
        return self.first.position if self.position == 0 and self.first.position < 1 else self.due


def name_damage(at: Break) -> Damage:
    """At least one row is at hand; the more, the further a swapped or moved row is found."""
    for look in _LOOKS:
        found = look(at)
        if found:
            return Damage(at.bad, *found)
    return Damage(at.bad, "replaced", "neither its content nor what follows goes on from the row before")


Found = tuple[Kind, str] | None


def _swapped_rows(at: Break) -> Found:
    """Whole rows, with their links; in a file they may have kept their positions."""
    for number, row in enumerate(at.rows[1:], 1):
        if row.follows(at.chain):
            before = row.chain if number == 1 else at.rows[number - 1].chain
            if at.first.follows(before):
                return "swapped", f"it and the row at {at.due + number} stand in each other's place"
    return None


def _swapped_contents(at: Break) -> Found:
    """The links stayed where they were."""
    for number, (before, row) in enumerate(pairwise(at.rows), 1):
        ours = link(at.chain, row.content) == at.first.chain
        if ours and link(before.chain, at.first.content) == row.chain:
            return "swapped", f"its content and that of {at.due + number} stand in each other's place"
    return None


def _repeated(at: Break) -> Found:
    if at.before is None or at.first.content != at.before.content:
        return None
    return "duplicated", f"its content is that of the row at {at.position} once more"


def _gap(at: Break) -> Found:
    if at.first.position <= at.due:
        return None
    last = at.first.position - 1
    if at.first.follows(at.chain):
        return (
            "renumbered",
            f"positions {at.due} to {last} are skipped, though the links go on: no row is missing",
        )
    return "missing", f"there is no row at positions {at.due} to {last}"


def _inserted(at: Break) -> Found:
    for number, row in enumerate(at.rows[1:], 1):
        if row.follows(at.chain):
            return _inserted_or_moved(at, number)
    return None


def _inserted_or_moved(at: Break, number: int) -> Found:
    """What goes on behind the row that follows tells whether the rows before it belong anywhere."""
    behind = at.rows[number + 1 : number + 2]
    if behind and not behind[0].follows(at.rows[number].chain):
        return "moved", f"the row that belongs here stands {number} further on"
    last = at.rows[number - 1].position
    which = "it does" if number == 1 else f"the rows up to {last} do"
    return "inserted", f"{which} not belong here: the row after goes on from the row before"


def _passed(at: Break) -> Found:
    if at.first.position >= at.due:
        return None
    return "inserted", f"a row with position {at.first.position} stands where {at.due} is due"


def _changed(at: Break) -> Found:
    if len(at.rows) == 1:
        return (
            "changed",
            "its content does not make its link; nothing follows that could tell which of them is wrong",
        )
    after = at.rows[1]
    if after.follows(at.first.chain):
        return "changed", (
            "its content does not make its link, and what follows goes on from that link: it was changed, or what "
            "stood before it was changed, added or taken out and numbered and linked anew up to here"
        )
    if after.follows(link(at.chain, at.first.content)):
        return "changed", "its link was changed: what follows goes on from the link that its content makes"
    return None


_LOOKS: tuple[Callable[[Break], Found], ...] = (
    _swapped_rows,
    _swapped_contents,
    _repeated,
    _gap,
    _inserted,
    _passed,
    _changed,
)
