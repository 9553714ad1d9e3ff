"""`--out` and whatever else names a file: whole or not at all, and nothing that is no file is ever replaced."""

import asyncio
import gzip
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Huajuan
from tests.projections.gallery import projecting, some_life


@pytest.fixture
def lived(database_url: str) -> str:
    async def live() -> None:
        async with projecting(database_url) as (store, _):
            await some_life(store, 1)

    asyncio.run(live())
    return database_url


VERBS = pytest.mark.parametrize("verb", ["head", "export"])


@VERBS
def test_a_link_is_followed_and_stays_one(lived: str, huajuan: Huajuan, tmp_path: Path, verb: str) -> None:
    target, link = tmp_path / "files" / "real", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to(target)
    for content in (None, "older"):
        if content:
            target.write_text(content)
            target.chmod(0o600)
        assert huajuan(lived, verb, "--out", link).status == 0
        assert link.readlink() == target
        assert "older" not in target.read_text()
        assert json.loads(target.read_text().splitlines()[0] if verb == "export" else target.read_text())
        assert [path.name for path in target.parent.iterdir()] == ["real"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@VERBS
def test_a_pipe_is_written_through(lived: str, huajuan: Huajuan, tmp_path: Path, verb: str) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert huajuan(lived, verb, "--out", pipe).status == 0
    reader.join(30)
    assert read[0].startswith(b"{")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_through(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    """A terminal, in whose folder nobody can make or replace a file: a fault cannot harm the machine."""
    ours, theirs = os.openpty()
    link = tmp_path / "link"
    link.symlink_to(os.ttyname(theirs))
    assert huajuan(lived, "head", "--out", link).status == 0
    assert os.read(ours, 1_000).startswith(b"{")
    assert link.is_char_device()
    for number in (ours, theirs):
        os.close(number)


NAMES = pytest.mark.parametrize("named", ["/dev/fd/{}", "/proc/self/fd/{}", "a link"])


@NAMES
@VERBS
def test_a_file_that_is_open_already_is_written_where_its_opener_stands(
    lived: str, huajuan: Huajuan, tmp_path: Path, verb: str, named: str
) -> None:
    """`3>file`, after something else was written there; it stays that file, and goes on behind our words."""
    file = tmp_path / "file"
    with file.open("wb") as opened:
        opened.write(b"before\n")
        opened.flush()
        name = tmp_path / "link"
        name.symlink_to(f"/dev/fd/{opened.fileno()}")
        said = huajuan(lived, verb, "--out", name if named == "a link" else named.format(opened.fileno()))
        assert said.status == 0
        opened.write(b"after\n")
        opened.flush()
        assert os.fstat(opened.fileno()).st_ino == file.stat().st_ino
    lines = file.read_bytes().splitlines()
    assert (lines[0], lines[-1], lines[1][:1]) == (b"before", b"after", b"{")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_file_without_a_name_gets_none(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as opened:
        (tmp_path / "file").unlink()
        assert huajuan(lived, "head", "--out", f"/dev/fd/{opened.fileno()}").status == 0
        opened.seek(0)
        assert opened.read().startswith(b"{")
    assert list(tmp_path.iterdir()) == []


def test_what_is_open_for_reading_alone_is_refused(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (tmp_path / "file").open() as opened:
        name = f"/dev/fd/{opened.fileno()}"
        said = huajuan(lived, "head", "--out", name)
        line = f"huajuan: cannot write {name}: it is open for reading alone\n"
        assert (said.status, said.out, said.err) == (1, "", line)
    assert (tmp_path / "file").read_text() == "mine"


@VERBS
def test_where_no_file_can_be_it_is_said_of_the_name_that_was_given(
    lived: str, huajuan: Huajuan, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        tmp_path: "it is a folder",
        tmp_path / "file" / "x": "Not a directory",
        tmp_path / "missing" / "x": "No such file or directory",
        tmp_path / "loop": "Too many levels of symbolic links",
    }
    for name, why in cases.items():
        said = huajuan(lived, verb, "--out", name)
        assert (said.status, said.out, said.err) == (1, "", f"huajuan: cannot write {name}: {why}\n")


@pytest.mark.parametrize(
    "words", [("head", "--out"), ("export", "--out"), ("verify",), ("verify", "--against")], ids=" ".join
)
def test_an_empty_name_names_nothing(lived: str, huajuan: Huajuan, words: tuple[str, ...]) -> None:
    said = huajuan(lived, *words, "")
    assert (said.status, said.out, said.err) == (1, "", "huajuan: a file's name must not be empty\n")


def test_a_compressed_export_does_not_keep_the_name_of_a_draft(
    lived: str, huajuan: Huajuan, tmp_path: Path
) -> None:
    file = tmp_path / "log.jsonl.gz"
    assert huajuan(lived, "export", "--out", file).status == 0
    assert b".part" not in file.read_bytes()
    assert gzip.decompress(file.read_bytes()).startswith(b'{"format":"huajuan-export/1"')


def test_up_to_beyond_the_end_is_up_to_the_end(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    whole = huajuan(lived, "export").out
    last = json.loads(whole.splitlines()[-1])["position"]
    said = huajuan(lived, "export", "--from", 1, "--to", 1000)
    assert (said.status, said.out) == (0, whole)
    assert f"the log ends at position {last}, and so does the export\n" in said.err
    assert "the log ends" not in huajuan(lived, "export", "--to", last).err
