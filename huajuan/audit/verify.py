"""Verifies the hash chain of a log or an export, and compares it with heads.

A head is the log's last position and link, published so that the log can be compared with it later.
The signature covers exactly these bytes, in UTF-8, each line ended by a line feed:

    huajuan-head/1
    <installation>
    <position>
    <chain, in hexadecimal>
    <time, as in the file>
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from huajuan.audit.connection import AuditError, UnreadableLine
from huajuan.audit.hash_chain import ChainBreak, Damage, Page, Row, diagnose_damage, follow

HEAD_BYTES_MAX = 10_000
HeadFormat = Literal["huajuan-head/1"]
Chain = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
Line = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z:.+-]{1,64}$")]
PublicKey = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Signature = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{128}$")]
Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
# How many rows after a break are searched for the row that belongs there.
ROWS_SEARCHED_MAX = 4_000
OnProgress = Callable[[int], None]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """`chain` is empty before the first event. `installation` is an id that reveals nothing of the key."""

    format: HeadFormat = get_args(HeadFormat)[0]
    installation: Line
    position: Position
    chain: Chain
    time: Line
    public_key: PublicKey | None = None
    signature: Signature | None = None


def make_head(installation: object, position: int, chain: bytes, at: datetime) -> Head:
    return Head(installation=str(installation), position=position, chain=chain.hex(), time=at.isoformat())


def sign_head(head: Head, secret: bytes) -> Head:
    """`secret` is an Ed25519 private key of 32 bytes."""
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public = key.public_key().public_bytes_raw().hex()
    return msgspec.structs.replace(head, public_key=public, signature=key.sign(signed_bytes(head)).hex())


def signed_bytes(head: Head) -> bytes:
    parts = (head.format, head.installation, head.position, head.chain, head.time)
    return "".join(f"{part}\n" for part in parts).encode()


def signature_fault(head: Head, public_key: str | None) -> str | None:
    """Why the signature is not accepted, or `None`. Without `public_key`, an unsigned head is accepted."""
    if head.signature is None or head.public_key is None:
        return "it is not signed" if public_key or head.signature or head.public_key else None
    if public_key and head.public_key != public_key:
        return "it is signed with another key"
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(head.public_key))
        key.verify(bytes.fromhex(head.signature), signed_bytes(head))
    except (InvalidSignature, ValueError):
        return "its signature is not valid"
    return None


def encode_head(head: Head) -> bytes:
    """The content of a head's file: JSON without absent fields."""
    present = {name: value for name, value in msgspec.structs.asdict(head).items() if value is not None}
    return msgspec.json.format(msgspec.json.encode(present), indent=2) + b"\n"


def read_head(path: str) -> Head:
    """Raises `AuditError` if the file is not a head."""
    try:
        with Path(path).open("rb") as file:
            return msgspec.json.decode(file.read(HEAD_BYTES_MAX), type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AuditError(f"{path} is not a head: {error}") from None


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
    """`heads` by the names of their files. With a `public_key` only its signatures count.

    `find_gap` searches for a gap in a stream, which an intact chain does not exclude.
    """
    positions = {head.position for head in heads.values()}
    walk = walk_chain(pages, target.position, target.chain, positions, on_progress)
    damage = walk.damage or _wrong_end(walk, target)
    checks: list[HeadCheck] = []
    matching = target.position
    # In the order of positions: a head that matches bounds the range in which a later one may differ.
    for name, head in sorted(heads.items(), key=lambda named: named[1].position):
        holds, says = _check_head(walk, damage, target, head, public_key, matching)
        matching = head.position if holds else matching
        checks.append(HeadCheck(name, head.position, holds, says))
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
        text = f"there are rows after {target.last}, its stated last position"
        return Damage(target.last + 1, "inserted", text)
    text = f"it ends here, and its stated last position is {target.last}"
    return Damage(walk.position + 1, "truncated", text)


def _check_head(
    walk: ChainWalk,
    damage: Damage | None,
    target: VerificationTarget,
    head: Head,
    public_key: str | None,
    matching: int,
) -> tuple[bool | None, str]:
    if fault := signature_fault(head, public_key):
        return False, f"{fault}: it proves nothing"
    if head.installation != target.installation:
        return False, "it belongs to another log"
    if head.position < target.position or (target.last is not None and head.position > target.last):
        return None, "it is outside of the verified range"
    if head.position > walk.position:
        if damage:
            return None, f"the chain breaks before it, at {damage.position}"
        gone = f"positions {walk.position + 1} to {head.position} are gone"
        return False, f"truncated: the log ends at {walk.position}, {gone}"
    if walk.links[head.position].hex() == head.chain:
        return True, f"the log matches it; {_signer(head, public_key)}"
    return False, f"rewritten: an event between positions {matching + 1} and {head.position} was changed"


def _signer(head: Head, public_key: str | None) -> str:
    if head.public_key is None:
        return "it is not signed"
    if public_key:
        return "signed with the given key"
    return f"signed with {head.public_key}; compare this with the published key"
