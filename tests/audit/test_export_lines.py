"""A line of an export that is not byte for byte as an export writes it is damage: JSON parsers differ."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from huajuan.audit.connection import AuditError
from tests.audit.test_exports import FIRST, lines_of, look, told

NUMBER = 4
Edit = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def text(log: str) -> bytes:
    with psycopg.connect(log) as connection:
        return lines_of(connection)


def in_base64(line: bytes) -> bytes:
    state = json.loads(line)["state"]
    written = b'"state":' + json.dumps(state, ensure_ascii=False).encode()
    assert written in line
    return line.replace(written, b'"state_base64":"' + base64.b64encode(state.encode()) + b'"')


def loud(line: bytes, key: str) -> bytes:
    value = json.loads(line)[key].encode()
    return line.replace(value, value.upper())


EDITS: dict[str, Edit] = {
    "a forged state before the true one": lambda line: line.replace(b'"state":', b'"state":"{}","state":', 1),
    "a forged position before the true one": lambda line: line.replace(b"{", b'{"position":1,', 1),
    "another key": lambda line: line.replace(b"{", b'{"note":"paid",', 1),
    "the chain in capitals": lambda line: loud(line, "chain"),
    "the stream in capitals": lambda line: loud(line, "stream"),
    "a blank": lambda line: line.replace(b":", b": ", 1),
    "a blank in the chain": lambda line: line.replace(b'"chain":"', b'"chain":" ', 1),
    "a blank before": lambda line: b" " + line,
    "a blank behind": lambda line: line + b" ",
    "CRLF": lambda line: line + b"\r",
    "an escape": lambda line: line.replace(b'"topic":"account', b'"topic":"\\u0061ccount'),
    "an empty base64 beside": lambda line: line.replace(b'"chain"', b'"state_base64":"","chain"', 1),
    "a text in base64": in_base64,
    "null beside": lambda line: line.replace(b'"chain"', b'"state_base64":null,"chain"', 1),
    "an empty line after": lambda line: line + b"\n",
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_row_with_other_bytes_is_unreadable(text: bytes, tmp_path: Path, edit: str) -> None:
    lines = text.splitlines()
    honest, lines[NUMBER] = lines[NUMBER], EDITS[edit](lines[NUMBER])
    assert lines[NUMBER] != honest
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    after = edit == "an empty line after"
    assert told(path) == (FIRST + NUMBER - 1 + after, "unreadable")


def test_the_last_line_needs_a_line_feed(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text.rstrip(b"\n"))
    assert not look(path).whole


HEADERS: dict[str, Edit] = {
    "another key": lambda line: line.replace(b"{", b'{"note":"paid",', 1),
    "twice": lambda line: line.replace(b'"to":', b'"to":1,"to":', 1),
    "a blank": lambda line: line.replace(b":", b": ", 1),
    "CRLF": lambda line: line + b"\r",
}


@pytest.mark.parametrize("edit", HEADERS)
def test_a_header_with_other_bytes_is_rejected(text: bytes, tmp_path: Path, edit: str) -> None:
    header, rest = text.split(b"\n", 1)
    path = tmp_path / "x.jsonl"
    path.write_bytes(HEADERS[edit](header) + b"\n" + rest)
    with pytest.raises(AuditError, match="its first line is not written as an export writes it"):
        look(path)
