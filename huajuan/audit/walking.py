"""Walks the chain from page to page to its end, or to the first row that does not follow."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice

from huajuan.audit.damage import Break, Damage, name_damage
from huajuan.audit.errors import Unreadable
from huajuan.audit.links import Page, Row, follow

# How far behind a break the row that belongs there is looked for.
ROWS_LOOKED_AT_MAX = 4_000
Told = Callable[[int], None]


@dataclass
class Walked:
    """How far the chain holds; `passed` has the links at the positions that were asked for."""

    position: int
    chain: bytes
    passed: dict[int, bytes] = field(default_factory=dict)
    damage: Damage | None = None


def walk(
    pages: Iterator[Page], position: int, chain: bytes, marks: Collection[int], told: Told = lambda _: None
) -> Walked:
    """From the link `chain` at `position` on. `told` hears the position reached after every page."""
    walked = Walked(position, chain, {position: chain})
    try:
        for page in pages:
            before = walked.position
            walked.position, walked.chain = follow(page, before, walked.chain)
            _keep(page, walked, [mark for mark in marks if before < mark <= walked.position])
            told(walked.position)
            if walked.position != page.last or walked.position - before != page.count:
                walked.damage = _damage(page, walked, pages, walked.position - before)
                break
    except Unreadable as error:
        walked.damage = Damage(walked.position + 1, "unreadable", str(error))
    return walked


def _keep(page: Page, walked: Walked, marks: Collection[int]) -> None:
    if marks:
        walked.passed |= {row.position: row.chain for row in page.rows() if row.position in marks}


def _damage(page: Page, walked: Walked, pages: Iterator[Page], good: int) -> Damage:
    rows = islice(_rows_from(page, good, pages), ROWS_LOOKED_AT_MAX)
    return name_damage(Break(walked.position, walked.chain, list(rows)))


def _rows_from(page: Page, number: int, pages: Iterator[Page]) -> Iterator[Row]:
    yield from islice(page.rows(), number, None)
    try:
        for later in pages:
            yield from later.rows()
    except Unreadable:
        return
