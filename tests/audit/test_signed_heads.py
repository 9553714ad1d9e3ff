"""Signed heads: the signed bytes, and the detection of each change."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from huajuan.audit.connection import AuditError
from huajuan.audit.verify import encode_head, make_head, read_head, sign_head, signature_fault, signed_bytes

HEAD = make_head(UUID(int=7), 42, b"\x01" * 32, datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC))
SECRET, OTHER = b"s" * 32, b"o" * 32
SIGNED = sign_head(HEAD, SECRET)
OTHERS = {
    "installation": str(UUID(int=8)),
    "position": 41,
    "chain": "02" * 32,
    "time": "2026-11-24T01:02:04+00:00",
    "public_key": sign_head(HEAD, OTHER).public_key,
    "signature": sign_head(HEAD, OTHER).signature,
}


def test_the_signed_bytes_are_as_documented() -> None:
    assert signed_bytes(HEAD) == (
        b"huajuan-head/1\n00000000-0000-0000-0000-000000000007\n42\n"
        + b"01" * 32
        + b"\n2026-11-24T01:02:03+00:00\n"
    )


def test_the_signature_is_verified_with_the_public_key() -> None:
    read = json.loads(encode_head(SIGNED))
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(read["public_key"]))
    key.verify(bytes.fromhex(read["signature"]), signed_bytes(HEAD))


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    for head in (HEAD, SIGNED):
        path = tmp_path / "head.json"
        path.write_bytes(encode_head(head))
        assert read_head(str(path)) == head


@pytest.mark.parametrize("key", OTHERS)
def test_a_changed_head_is_not_valid(tmp_path: Path, key: str) -> None:
    path = tmp_path / "head.json"
    path.write_text(json.dumps(json.loads(encode_head(SIGNED)) | {key: OTHERS[key]}))
    assert signature_fault(read_head(str(path)), None) == "its signature is not valid"
    assert signature_fault(read_head(str(path)), SIGNED.public_key)


def test_only_the_given_key_is_accepted() -> None:
    assert signature_fault(SIGNED, SIGNED.public_key) is None
    assert signature_fault(sign_head(HEAD, OTHER), SIGNED.public_key) == "it is signed with another key"
    assert signature_fault(HEAD, SIGNED.public_key) == "it is not signed"
    assert signature_fault(HEAD, None) is None


@pytest.mark.parametrize("lacking", ["public_key", "signature"])
def test_an_incomplete_signature_counts_as_none(tmp_path: Path, lacking: str) -> None:
    read = json.loads(encode_head(SIGNED))
    del read[lacking]
    path = tmp_path / "head.json"
    path.write_text(json.dumps(read))
    assert signature_fault(read_head(str(path)), None) == "it is not signed"


@pytest.mark.parametrize(
    "keys",
    [
        {"position": -1},
        {"chain": "ab"},
        {"installation": "x\n1"},
        {"time": ""},
        {"format": "huajuan-head/2"},
        {"signature": "zz" * 64},
        {"position": "42"},
        {"position": 2**63},
    ],
)
def test_a_file_that_is_not_a_head_is_rejected(tmp_path: Path, keys: dict[str, object]) -> None:
    path = tmp_path / "head.json"
    path.write_text(json.dumps(json.loads(encode_head(SIGNED)) | keys))
    with pytest.raises(AuditError, match="is not a head"):
        read_head(str(path))


def test_a_deeply_nested_file_is_not_a_head(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    path.write_text('{"x":' + "[" * 9_000)
    with pytest.raises(AuditError, match="is not a head"):
        read_head(str(path))
