"""A published head: what is signed, and that nothing of it can be changed unnoticed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from huajuan.audit.errors import AuditError
from huajuan.audit.signed_heads import fault_of, head_at, read_head, signed, signed_bytes, written

HEAD = head_at(UUID(int=7), 42, b"\x01" * 32, datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC))
SECRET, OTHER = b"s" * 32, b"o" * 32
SIGNED = signed(HEAD, SECRET)
OTHERS = {
    "installation": str(UUID(int=8)),
    "position": 41,
    "chain": "02" * 32,
    "time": "2026-11-24T01:02:04+00:00",
    "public_key": signed(HEAD, OTHER).public_key,
    "signature": signed(HEAD, OTHER).signature,
}


def test_the_signed_bytes_are_what_the_documentation_says() -> None:
    assert signed_bytes(HEAD) == (
        b"huajuan-head/1\n00000000-0000-0000-0000-000000000007\n42\n"
        + b"01" * 32
        + b"\n2026-11-24T01:02:03+00:00\n"
    )


def test_anybody_can_check_the_signature() -> None:
    read = json.loads(written(SIGNED))
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(read["public_key"]))
    key.verify(bytes.fromhex(read["signature"]), signed_bytes(HEAD))


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    for head in (HEAD, SIGNED):
        path = tmp_path / "head.json"
        path.write_bytes(written(head))
        assert read_head(str(path)) == head


@pytest.mark.parametrize("key", OTHERS)
def test_a_changed_head_is_not_valid(tmp_path: Path, key: str) -> None:
    path = tmp_path / "head.json"
    path.write_text(json.dumps(json.loads(written(SIGNED)) | {key: OTHERS[key]}))
    assert fault_of(read_head(str(path)), None) == "its signature is not valid"
    assert fault_of(read_head(str(path)), SIGNED.public_key)


def test_only_the_key_asked_for_counts() -> None:
    assert fault_of(SIGNED, SIGNED.public_key) is None
    assert fault_of(signed(HEAD, OTHER), SIGNED.public_key) == "it is signed with another key"
    assert fault_of(HEAD, SIGNED.public_key) == "it is not signed"
    assert fault_of(HEAD, None) is None


@pytest.mark.parametrize("lacking", ["public_key", "signature"])
def test_half_a_signature_is_none(tmp_path: Path, lacking: str) -> None:
    read = json.loads(written(SIGNED))
    del read[lacking]
    path = tmp_path / "head.json"
    path.write_text(json.dumps(read))
    assert fault_of(read_head(str(path)), None) == "it is not signed"


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
def test_what_is_no_head_is_refused(tmp_path: Path, keys: dict[str, object]) -> None:
    path = tmp_path / "head.json"
    path.write_text(json.dumps(json.loads(written(SIGNED)) | keys))
    with pytest.raises(AuditError, match="holds no head"):
        read_head(str(path))


def test_a_file_nested_without_end_holds_no_head(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    path.write_text('{"x":' + "[" * 9_000)
    with pytest.raises(AuditError, match="holds no head"):
        read_head(str(path))
