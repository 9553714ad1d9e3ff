"""Walks the chain from page to page to its end, or to the first row that does not follow."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice

from huajuan.audit.errors import Unreadable
from huajuan.audit.hash_chain import Page, Row, follow
from huajuan.audit.tamper_diagnosis import Break, Damage, name_damage

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
    earlier = None
    try:
        for page in pages:
            before = walked.position
            walked.position, walked.chain = follow(page, before, walked.chain)
            good = walked.position - before
            _keep(page, good, walked, marks)
            told(walked.position)
            if good < page.count:
                walked.damage = _damage(earlier, page, pages, walked, good)
                break
            earlier = page
    except Unreadable as error:
        walked.damage = Damage(walked.position + 1, "unreadable", str(error))
    return walked


def _keep(page: Page, good: int, walked: Walked, marks: Collection[int]) -> None:
    """Of the rows that follow, those asked for."""
    if any(walked.position - good < mark <= walked.position for mark in marks):
        walked.passed |= {
            row.position: row.chain for row in islice(page.rows(), good) if row.position in marks
        }


def _damage(earlier: Page | None, page: Page, pages: Iterator[Page], walked: Walked, good: int) -> Damage:
    """`good` rows of the page follow, the next does not."""
    seen = list(islice(page.rows(), good)) or (list(earlier.rows()) if earlier else [])
    rows = islice(_rows_from(page, good, pages), ROWS_LOOKED_AT_MAX)
    return name_damage(Break(walked.position, walked.chain, list(rows), seen[-1] if seen else None))


def _rows_from(page: Page, number: int, pages: Iterator[Page]) -> Iterator[Row]:
    yield from islice(page.rows(), number, None)
    try:
        for later in pages:
            yield from later.rows()
    except Unreadable:
        return
