"""`--out`: regular files are written atomically, and devices, pipes and open files are never replaced."""

import asyncio
import gzip
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Huajuan
from tests.projections.gallery import append_history, projecting


@pytest.fixture
def lived(database_url: str) -> str:
    async def live() -> None:
        async with projecting(database_url) as (store, _):
            await append_history(store, 1)

    asyncio.run(live())
    return database_url


COMMANDS = pytest.mark.parametrize("command", ["head", "export"])


@COMMANDS
def test_a_link_is_followed_and_stays_one(lived: str, huajuan: Huajuan, tmp_path: Path, command: str) -> None:
    target, link = tmp_path / "files" / "real", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to(target)
    for content in (None, "older"):
        if content:
            target.write_text(content)
            target.chmod(0o600)
        assert huajuan(lived, command, "--out", link).status == 0
        assert link.readlink() == target
        assert "older" not in target.read_text()
        assert json.loads(target.read_text().splitlines()[0] if command == "export" else target.read_text())
        assert [path.name for path in target.parent.iterdir()] == ["real"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@COMMANDS
def test_a_pipe_is_written_through(lived: str, huajuan: Huajuan, tmp_path: Path, command: str) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert huajuan(lived, command, "--out", pipe).status == 0
    reader.join(30)
    assert read[0].startswith(b"{")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_through(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    """Uses a terminal device, whose folder is read-only, so that a bug cannot harm the machine."""
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
@COMMANDS
def test_an_open_file_is_written_at_its_position(
    lived: str, huajuan: Huajuan, tmp_path: Path, command: str, named: str
) -> None:
    """With `3>file`: the output goes to the open file at its current position."""
    file = tmp_path / "file"
    with file.open("wb") as opened:
        opened.write(b"before\n")
        opened.flush()
        name = tmp_path / "link"
        name.symlink_to(f"/dev/fd/{opened.fileno()}")
        said = huajuan(lived, command, "--out", name if named == "a link" else named.format(opened.fileno()))
        assert said.status == 0
        opened.write(b"after\n")
        opened.flush()
        assert os.fstat(opened.fileno()).st_ino == file.stat().st_ino
    lines = file.read_bytes().splitlines()
    assert (lines[0], lines[-1], lines[1][:1]) == (b"before", b"after", b"{")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_an_open_file_without_a_name_stays_without_one(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as opened:
        (tmp_path / "file").unlink()
        assert huajuan(lived, "head", "--out", f"/dev/fd/{opened.fileno()}").status == 0
        opened.seek(0)
        assert opened.read().startswith(b"{")
    assert list(tmp_path.iterdir()) == []


def test_a_file_open_for_reading_is_rejected(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (tmp_path / "file").open() as opened:
        name = f"/dev/fd/{opened.fileno()}"
        said = huajuan(lived, "head", "--out", name)
        line = f"huajuan: cannot write {name}: it is open for reading only\n"
        assert (said.status, said.out, said.err) == (1, "", line)
    assert (tmp_path / "file").read_text() == "mine"


@COMMANDS
def test_an_error_has_the_given_name(lived: str, huajuan: Huajuan, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        tmp_path: "it is a folder",
        tmp_path / "file" / "x": "Not a directory",
        tmp_path / "missing" / "x": "No such file or directory",
        tmp_path / "loop": "Too many levels of symbolic links",
    }
    for name, why in cases.items():
        said = huajuan(lived, command, "--out", name)
        assert (said.status, said.out, said.err) == (1, "", f"huajuan: cannot write {name}: {why}\n")


@pytest.mark.parametrize(
    "arguments", [("head", "--out"), ("export", "--out"), ("verify",), ("verify", "--against")], ids=" ".join
)
def test_an_empty_file_name_is_rejected(lived: str, huajuan: Huajuan, arguments: tuple[str, ...]) -> None:
    said = huajuan(lived, *arguments, "")
    assert (said.status, said.out, said.err) == (1, "", "huajuan: a file's name must not be empty\n")


def test_a_compressed_export_has_no_name_in_its_header(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl.gz"
    assert huajuan(lived, "export", "--out", file).status == 0
    assert b".part" not in file.read_bytes()
    assert gzip.decompress(file.read_bytes()).startswith(b'{"format":"huajuan-export/1"')


def test_an_export_beyond_the_end_is_shortened(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    whole = huajuan(lived, "export").out
    last = json.loads(whole.splitlines()[-1])["position"]
    said = huajuan(lived, "export", "--from", 1, "--to", 1000)
    assert (said.status, said.out) == (0, whole)
    assert f"the log ends at position {last}, and so does the export\n" in said.err
    assert "the log ends" not in huajuan(lived, "export", "--to", last).err
