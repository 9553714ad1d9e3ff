"""Exports are verified without a database; each damage to a file is found at its line."""

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from huajuan.audit.connection import AuditError, read_log_head, stream_ids
from huajuan.audit.exports import (
    ExportHeader,
    chain_before,
    compress_if_gz,
    export_chunks,
    open_export,
    read_header,
    read_pages,
)
from huajuan.audit.verify import Verdict, VerificationTarget, make_head, verify
from tests.audit.conftest import EVENTS
from tests.audit.tampering import tampering
from tests.event_store.helpers import log_rows, now

FIRST, LAST = 5, 20
Rows = list[dict[str, Any]]


def lines_of(connection: psycopg.Connection, first: int = FIRST, last: int = LAST) -> bytes:
    installation = str(stream_ids(connection).installation())
    chain = chain_before(connection, first).hex()
    header = ExportHeader(installation=installation, first=first, last=last, chain=chain)
    return b"".join(lines for _, lines in export_chunks(connection, header))


@pytest.fixture(scope="module")
def text(log: str) -> bytes:
    with psycopg.connect(log) as connection:
        return lines_of(connection)


def look(path: Path, **heads: Any) -> Verdict:
    with open_export(str(path)) as file:
        header = read_header(file, str(path))
        target = VerificationTarget(
            header.installation, header.first - 1, bytes.fromhex(header.chain), header.last
        )
        return verify(read_pages(file), target, heads)


def told(path: Path) -> tuple[int, str]:
    damage = look(path).damage
    assert damage
    return damage.position, damage.kind


def test_an_export_has_the_stored_bytes(log: str, text: bytes) -> None:
    header, *rows = map(json.loads, text.splitlines())
    assert header["format"] == "huajuan-export/1"
    assert (header["from"], header["to"]) == (FIRST, LAST)
    stored = log_rows(log, "notification_id, originator_id, originator_version, topic, state, chain")
    assert [
        (r["position"], r["stream"], r["version"], r["topic"], r["state"].encode(), r["chain"]) for r in rows
    ] == [(p, str(s), v, t, st, c.hex()) for p, s, v, t, st, c in stored[FIRST - 1 : LAST]]


@pytest.mark.parametrize("name", ["part.jsonl", "part.jsonl.gz"])
def test_an_export_is_whole(text: bytes, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    verdict = look(path)
    assert (verdict.whole, verdict.began_at, verdict.position) == (True, FIRST - 1, LAST)


def test_consecutive_exports_can_be_joined(log: str, tmp_path: Path) -> None:
    with psycopg.connect(log) as connection:
        first, second = lines_of(connection, 1, 9), lines_of(connection, 10, EVENTS)
        path = tmp_path / "both.jsonl"
        both = [json.loads(first.splitlines()[0]) | {"to": EVENTS}]
        path.write_bytes(
            msgspec.json.encode(both[0])
            + b"\n"
            + b"".join([*first.splitlines(True)[1:], *second.splitlines(True)[1:]])
        )
        assert look(path).chain == read_log_head(connection)[1].hex()
        assert look(path).whole


def swap(rows: Rows, one: int, other: int) -> None:
    rows[one], rows[other] = rows[other], rows[one]


def change(rows: Rows, number: int, **keys: Any) -> None:
    rows[number] |= keys


def renumber(rows: Rows) -> None:
    for position, row in enumerate(rows, FIRST):
        row["position"] = position


Edit = Callable[[Rows], object]
EDITS: dict[str, tuple[Edit | tuple[Edit, ...], int, str]] = {
    "state changed": (lambda rows: change(rows, 3, state=rows[3]["state"] + " "), 3, "changed"),
    "first row changed": (lambda rows: change(rows, 0, topic="account.registered"), 0, "changed"),
    "last row changed": (lambda rows: change(rows, 15, version=99), 15, "changed"),
    "link changed": (lambda rows: change(rows, 4, chain="00" * 32), 4, "changed"),
    "row dropped": (lambda rows: rows.pop(6), 6, "missing"),
    "row dropped and the rest renumbered": ((lambda rows: rows.pop(6), renumber), 6, "changed"),
    "last row dropped": (lambda rows: rows.pop(), 15, "truncated"),
    "lines swapped": (lambda rows: swap(rows, 2, 3), 2, "swapped"),
    "lines swapped and renumbered": ((lambda rows: swap(rows, 2, 3), renumber), 2, "swapped"),
    "distant lines swapped": (lambda rows: swap(rows, 1, 12), 1, "swapped"),
    "line repeated": (lambda rows: rows.insert(8, rows[7]), 8, "duplicated"),
    "line repeated and renumbered": (
        (lambda rows: rows.insert(8, dict(rows[7])), renumber),
        8,
        "duplicated",
    ),
    "row inserted": (
        (lambda rows: rows.insert(5, rows[5] | {"state": "{}", "chain": "11" * 32}), renumber),
        5,
        "inserted",
    ),
    "older row put in": (lambda rows: rows.insert(9, rows[2]), 9, "inserted"),
    "no row": (lambda rows: rows.insert(4, {"position": FIRST + 4}), 4, "unreadable"),
    "stream is no id": (lambda rows: change(rows, 4, stream="ann"), 4, "unreadable"),
    "position out of range": (lambda rows: change(rows, 4, position=2**63), 4, "unreadable"),
    "version out of range": (lambda rows: change(rows, 4, version=2**63), 4, "unreadable"),
    "link is no number": (lambda rows: change(rows, 4, chain="xyz"), 4, "unreadable"),
    "another state beside it": (
        lambda rows: change(rows, 4, state=None, state_base64=base64.b64encode(b"{}").decode()),
        4,
        "unreadable",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_damage_to_an_export_is_found(text: bytes, tmp_path: Path, edit: str, ending: str) -> None:
    do, number, kind = EDITS[edit]
    header, *rows_written = text.splitlines()
    rows = [json.loads(line) for line in rows_written]
    for step in do if isinstance(do, tuple) else (do,):
        step(rows)
    path = tmp_path / f"x.jsonl{ending}"
    with path.open("wb") as file, compress_if_gz(file, str(path)) as lines:
        lines.write(b"\n".join([header, *map(msgspec.json.encode, rows)]) + b"\n")
    assert told(path) == (FIRST + number, kind)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"chain": "22" * 32}, (FIRST, "changed")),
        ({"to": LAST + 1}, (LAST + 1, "truncated")),
        ({"to": LAST - 2}, (LAST - 1, "inserted")),
        ({"from": FIRST + 1}, (FIRST + 1, "inserted")),
    ],
)
def test_a_wrong_header_is_detected(
    text: bytes, tmp_path: Path, keys: dict[str, Any], found: tuple[int, str]
) -> None:
    header, rest = text.split(b"\n", 1)
    path = tmp_path / "x.jsonl"
    path.write_bytes(msgspec.json.encode(json.loads(header) | keys) + b"\n" + rest)
    assert told(path) == found


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"{}\n",
        b"\xff\n",
        b'{"x":' + b"[" * 200_000,
        b'{"format":"huajuan-export/2","installation":"x","from":1,"to":1,"chain":""}\n',
    ],
)
def test_a_file_that_is_not_an_export_is_rejected(tmp_path: Path, begin: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(begin)
    with pytest.raises(AuditError, match="is not an export"):
        look(path)


def test_a_deeply_nested_line_is_unreadable(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text + b'{"x":' + b"[" * 200_000 + b"\n")
    assert told(path) == (LAST + 1, "unreadable")


def test_a_truncated_gzip_file_is_unreadable_from_there(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(text)[:-300])
    position, kind = told(path)
    assert kind == "unreadable"
    assert FIRST <= position <= LAST


def test_heads_are_compared_with_an_export(log: str, text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text)
    with psycopg.connect(log) as connection:
        name = stream_ids(connection).installation()
        chains = [row[0] for row in log_rows(log, "chain")]
    inside, before, after = (make_head(name, p, chains[p - 1], now()) for p in (10, FIRST - 1, LAST + 1))
    wrong = make_head(name, 10, chains[10], now())
    verdict = look(path, inside=inside, before=before, after=after)
    assert verdict.whole
    assert {f.name: f.holds for f in verdict.heads} == {"inside": True, "before": True, "after": None}
    assert not look(path, wrong=wrong).whole
    assert not look(path, after=after).whole, "what was asked for could not be confirmed"


def test_a_state_that_is_not_utf8_is_exported(log: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with tampering(log) as connection:
        connection.execute("UPDATE log.huajuan_events SET state = '\\xff00' WHERE notification_id = 20")
        connection.execute(
            "UPDATE log.huajuan_events SET chain = log.link((SELECT chain FROM log.huajuan_events "
            "WHERE notification_id = 19), originator_id, originator_version, topic, state) "
            "WHERE notification_id = 20"
        )
        path.write_bytes(lines_of(connection))
    assert look(path).whole
