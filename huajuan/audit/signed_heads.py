"""Published heads: the log's last position and link, signed, against which the log can be held later.

What is signed are these bytes, UTF-8, each line ended by a line feed, and nothing else:

    huajuan-head/1
    <installation>
    <position>
    <chain, in hexadecimal>
    <time, as the file has it>
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from huajuan.audit.errors import AuditError

HEAD_BYTES_MAX = 10_000
Format = Literal["huajuan-head/1"]
Chain = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
Line = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z:.+-]{1,64}$")]
PublicKey = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Signature = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{128}$")]
Place = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """`chain` is empty before the first event. `installation` names the log and tells nothing of its key."""

    format: Format = get_args(Format)[0]
    installation: Line
    position: Place
    chain: Chain
    time: Line
    public_key: PublicKey | None = None
    signature: Signature | None = None


def head_at(installation: object, position: int, chain: bytes, at: datetime) -> Head:
    return Head(installation=str(installation), position=position, chain=chain.hex(), time=at.isoformat())


def signed(head: Head, secret: bytes) -> Head:
    """`secret` are the 32 bytes of an Ed25519 key."""
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public = key.public_key().public_bytes_raw().hex()
    return msgspec.structs.replace(head, public_key=public, signature=key.sign(signed_bytes(head)).hex())


def signed_bytes(head: Head) -> bytes:
    parts = (head.format, head.installation, head.position, head.chain, head.time)
    return "".join(f"{part}\n" for part in parts).encode()


def fault_of(head: Head, public_key: str | None) -> str | None:
    """Why the signature proves nothing, if so. A head without one is trusted as far as its file is."""
    if head.signature is None or head.public_key is None:
        return "it is not signed" if public_key or head.signature or head.public_key else None
    if public_key and head.public_key != public_key:
        return "it is signed with another key"
    return (
        None
        if _is_valid(head.public_key, head.signature, signed_bytes(head))
        else "its signature is not valid"
    )


def _is_valid(public_key: str, signature: str, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(
            bytes.fromhex(signature), message
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def written(head: Head) -> bytes:
    """The file: JSON, without what the head has not."""
    present = {name: value for name, value in msgspec.structs.asdict(head).items() if value is not None}
    return msgspec.json.format(msgspec.json.encode(present), indent=2) + b"\n"


def read_head(path: str) -> Head:
    """Raises `AuditError` for a file that holds no head."""
    try:
        with Path(path).open("rb") as file:
            return msgspec.json.decode(file.read(HEAD_BYTES_MAX), type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AuditError(f"{path} holds no head: {error}") from None
