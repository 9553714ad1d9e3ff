"""Verifies the hash chain of a log or an export, and compares it with published heads."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from huajuan.audit.connection import UnreadableLine
from huajuan.audit.hash_chain import Page, Row, follow
from huajuan.audit.signed_heads import Head, signature_fault
from huajuan.audit.tamper_diagnosis import ChainBreak, Damage, diagnose_damage

# How many rows after a break are searched for the row that belongs there.
ROWS_SEARCHED_MAX = 4_000
OnProgress = Callable[[int], None]


@dataclass
class ChainWalk:
    """How far the chain is intact; `links` has the links at the positions that were asked for."""

    position: int
    chain: bytes
    links: dict[int, bytes] = field(default_factory=dict)
    damage: Damage | None = None


@dataclass(frozen=True)
class VerificationTarget:
    """The log or export that is verified: its installation, and the position and link before its first row.

    `last` is the last position that an export claims to have; `None` for a log.
    """

    installation: str
    position: int = 0
    chain: bytes = b""
    last: int | None = None


@dataclass(frozen=True)
class HeadCheck:
    """The comparison with a head, named by its file. `holds` is `None` if it could not be compared."""

    name: str
    position: int
    holds: bool | None
    says: str


@dataclass(frozen=True)
class Verdict:
    """The rows after `began_at` up to `position` are intact; `chain` is the last link in hexadecimal."""

    whole: bool
    began_at: int
    position: int
    chain: str
    damage: Damage | None
    heads: list[HeadCheck]


def verify(
    pages: Iterator[Page],
    target: VerificationTarget,
    heads: Mapping[str, Head],
    public_key: str | None = None,
    on_progress: OnProgress = lambda _: None,
    find_gap: Callable[[], Damage | None] = lambda: None,
) -> Verdict:
    """`heads` by the names of their files.

    With `public_key`, in hexadecimal, only signatures of that key count.

    `find_gap` searches for a gap in a stream, which an intact chain does not exclude.
    """
    positions = {head.position for head in heads.values()}
    walk = walk_chain(pages, target.position, target.chain, positions, on_progress)
    damage = walk.damage or _wrong_end(walk, target)
    checks = list(_check_heads(walk, damage, target, heads, public_key))
    confirmed = not heads or any(check.holds for check in checks)
    damage = damage or find_gap()
    whole = damage is None and confirmed and all(check.holds is not False for check in checks)
    return Verdict(whole, target.position, walk.position, walk.chain.hex(), damage, checks)


def walk_chain(
    pages: Iterator[Page],
    position: int,
    chain: bytes,
    positions: Collection[int],
    on_progress: OnProgress = lambda _: None,
) -> ChainWalk:
    """Follows the chain from a position and its link to the end, or to the first row that does not follow.

    Calls `on_progress` with the position reached after each page.
    """
    walk = ChainWalk(position, chain, {position: chain})
    earlier = None
    try:
        for page in pages:
            before = walk.position
            walk.position, walk.chain = follow(page, before, walk.chain)
            good = walk.position - before
            _collect_links(page, good, walk, positions)
            on_progress(walk.position)
            if good < page.count:
                walk.damage = _diagnose(earlier, page, pages, walk, good)
                break
            earlier = page
    except UnreadableLine as error:
        walk.damage = Damage(walk.position + 1, "unreadable", str(error))
    return walk


def _collect_links(page: Page, good: int, walk: ChainWalk, positions: Collection[int]) -> None:
    if any(walk.position - good < wanted <= walk.position for wanted in positions):
        rows = islice(page.rows(), good)
        walk.links |= {row.position: row.chain for row in rows if row.position in positions}


def _diagnose(earlier: Page | None, page: Page, pages: Iterator[Page], walk: ChainWalk, good: int) -> Damage:
    """The first `good` rows of the page follow, the next one does not."""
    before = list(islice(page.rows(), good)) or (list(earlier.rows()) if earlier else [])
    rows = list(islice(_rows_from(page, good, pages), ROWS_SEARCHED_MAX))
    return diagnose_damage(ChainBreak(walk.position, walk.chain, rows, before[-1] if before else None))


def _rows_from(page: Page, number: int, pages: Iterator[Page]) -> Iterator[Row]:
    yield from islice(page.rows(), number, None)
    try:
        for later in pages:
            yield from later.rows()
    except UnreadableLine:
        return


def _wrong_end(walk: ChainWalk, target: VerificationTarget) -> Damage | None:
    if target.last is None or walk.position == target.last:
        return None
    if walk.position > target.last:
        return Damage(
            target.last + 1, "inserted", f"there are rows after {target.last}, its stated last position"
        )
    return Damage(
        walk.position + 1, "truncated", f"it ends here, and its stated last position is {target.last}"
    )


def _check_heads(
    walk: ChainWalk,
    damage: Damage | None,
    target: VerificationTarget,
    heads: Mapping[str, Head],
    public_key: str | None,
) -> Iterator[HeadCheck]:
    """In the order of positions: a head that matches bounds the range in which a later one may differ."""
    confirmed = target.position
    for name, head in sorted(heads.items(), key=lambda named: named[1].position):
        holds, says = _check_head(walk, damage, target, head, public_key, confirmed)
        confirmed = head.position if holds else confirmed
        yield HeadCheck(name, head.position, holds, says)


def _check_head(
    walk: ChainWalk,
    damage: Damage | None,
    target: VerificationTarget,
    head: Head,
    public_key: str | None,
    confirmed: int,
) -> tuple[bool | None, str]:
    if fault := signature_fault(head, public_key):
        return False, f"{fault}: it proves nothing"
    if head.installation != target.installation:
        return False, "it belongs to another log"
    if _is_outside(head, target):
        return None, "it is outside of the verified range"
    if head.position <= walk.position:
        return _compare(walk.links[head.position], head, public_key, confirmed)
    if damage:
        return None, f"the chain breaks before it, at {damage.position}"
    gone = f"positions {walk.position + 1} to {head.position} are gone"
    return False, f"truncated: the log ends at {walk.position}, {gone}"


def _is_outside(head: Head, target: VerificationTarget) -> bool:
    return head.position < target.position or (target.last is not None and head.position > target.last)


def _compare(chain: bytes, head: Head, public_key: str | None, confirmed: int) -> tuple[bool, str]:
    if chain.hex() == head.chain:
        return True, f"the log matches it; {_signer(head, public_key)}"
    return False, f"rewritten: an event between positions {confirmed + 1} and {head.position} was changed"


def _signer(head: Head, public_key: str | None) -> str:
    if head.public_key is None:
        return "it is not signed"
    if public_key:
        return "signed with the given key"
    return f"signed with {head.public_key}; compare this with the published key"
