"""Signed heads: the log's last position and link, published so that the log can be compared with them later.

The signature covers exactly these bytes, in UTF-8, each line ended by a line feed:

    huajuan-head/1
    <installation>
    <position>
    <chain, in hexadecimal>
    <time, as in the file>
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from huajuan.audit.connection import AuditError

HEAD_BYTES_MAX = 10_000
Format = Literal["huajuan-head/1"]
Chain = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
Line = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z:.+-]{1,64}$")]
PublicKey = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Signature = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{128}$")]
Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """`chain` is empty before the first event. `installation` is an id that reveals nothing of the key."""

    format: Format = get_args(Format)[0]
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
    is_valid = _is_valid(head.public_key, head.signature, signed_bytes(head))
    return None if is_valid else "its signature is not valid"


def _is_valid(public_key: str, signature: str, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(
            bytes.fromhex(signature), message
        )
    except (InvalidSignature, ValueError):
        return False
    return True


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
