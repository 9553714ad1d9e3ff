"""Says of a log or an export whether it is whole, and holds it against published heads."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from huajuan.audit.chain_walk import Told, Walked, walk
from huajuan.audit.hash_chain import Page
from huajuan.audit.signed_heads import Head, fault_of
from huajuan.audit.tamper_diagnosis import Damage


@dataclass(frozen=True)
class Claim:
    """What is to be verified: where it begins, and the log it says it is of.

    `last` is the position at which it says that it ends, `None` for a log, which ends where it ends.
    """

    installation: str
    position: int = 0
    chain: bytes = b""
    last: int | None = None


@dataclass(frozen=True)
class HeadFinding:
    """What a head, named by its file, says of the log. `holds` is `None` where it could not be looked at."""

    name: str
    position: int
    holds: bool | None
    says: str


@dataclass(frozen=True)
class Verdict:
    """The rows after `began_at` and up to `position` are whole; `chain` is the last one's link, in hexadecimal."""

    whole: bool
    began_at: int
    position: int
    chain: str
    damage: Damage | None
    heads: list[HeadFinding]


def verify(
    pages: Iterator[Page],
    claim: Claim,
    heads: Mapping[str, Head],
    public_key: str | None = None,
    told: Told = lambda _: None,
    gap: Callable[[], Damage | None] = lambda: None,
) -> Verdict:
    """Heads are named by their files. With `public_key`, in hexadecimal, only that key's signatures count.

    `gap` looks for a gap in a stream: a chain can be whole over streams that are not.
    """
    marks = {head.position for head in heads.values()}
    walked = walk(pages, claim.position, claim.chain, marks, told)
    damage = walked.damage or _cut_short(walked, claim)
    found = list(_hold_against(walked, damage, claim, heads, public_key))
    confirmed = not heads or any(finding.holds for finding in found)
    damage = damage or gap()
    whole = damage is None and confirmed and all(finding.holds is not False for finding in found)
    return Verdict(whole, claim.position, walked.position, walked.chain.hex(), damage, found)


def _cut_short(walked: Walked, claim: Claim) -> Damage | None:
    if claim.last is None or walked.position == claim.last:
        return None
    if walked.position > claim.last:
        return Damage(
            claim.last + 1, "inserted", f"it goes on beyond {claim.last}, where it says that it ends"
        )
    return Damage(walked.position + 1, "truncated", f"it ends here and says that it goes on to {claim.last}")


def _hold_against(
    walked: Walked, damage: Damage | None, claim: Claim, heads: Mapping[str, Head], public_key: str | None
) -> Iterator[HeadFinding]:
    """In the order of their positions; each that holds bounds where those after it may differ."""
    agreed = claim.position
    for name, head in sorted(heads.items(), key=lambda named: named[1].position):
        holds, says = _look(walked, damage, claim, head, public_key, agreed)
        agreed = head.position if holds else agreed
        yield HeadFinding(name, head.position, holds, says)


def _look(
    walked: Walked, damage: Damage | None, claim: Claim, head: Head, public_key: str | None, agreed: int
) -> tuple[bool | None, str]:
    if fault := fault_of(head, public_key):
        return False, f"{fault}: it proves nothing"
    if head.installation != claim.installation:
        return False, "it is of another log"
    if _is_outside(head, claim):
        return None, "it lies outside of what was verified"
    if head.position <= walked.position:
        return _compare(walked.passed[head.position], head, public_key, agreed)
    if damage:
        return None, f"the chain breaks before it, at {damage.position}"
    return (
        False,
        f"truncated: the log ends at {walked.position}, positions {walked.position + 1} to {head.position} are gone",
    )


def _is_outside(head: Head, claim: Claim) -> bool:
    return head.position < claim.position or (claim.last is not None and head.position > claim.last)


def _compare(chain: bytes, head: Head, public_key: str | None, agreed: int) -> tuple[bool, str]:
    if chain.hex() == head.chain:
        return True, f"the log holds it; {_by_whom(head, public_key)}"
    return (
        False,
        f"rewritten: something between positions {agreed + 1} and {head.position} is not what it was",
    )


def _by_whom(head: Head, public_key: str | None) -> str:
    if head.public_key is None:
        return "nobody signed it"
    if public_key:
        return "signed with the key asked for"
    return f"signed with {head.public_key}, to be compared with the key that was published"
