"""A service that cannot start prints the reason in one line, and exits with 1."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from huajuan.cli.main import run
from huajuan.runtime.logs import configure_logs
from huajuan.server.serve import _storage
from huajuan.settings import Settings, SettingsError
from tests.inference_client.own_workflows import own_workflow
from tests.s3 import pointing_at
from tests.server.service import Service, environment, free_port

NOBODY_LISTENS = "postgresql://127.0.0.1:1/huajuan"
REFUSED = {
    "port 0": ("PORT", "0", "HUAJUAN_PORT is '0': it must be a whole number from 1 to 65,535"),
    "port abc": ("PORT", "abc", "HUAJUAN_PORT is 'abc': it must be a whole number"),
    "host": ("HOST", "no.such.host.invalid", "HUAJUAN_HOST is 'no.such.host.invalid': "),
    "foreign address": ("HOST", "192.0.2.1", "cannot listen on 192.0.2.1:"),
    "zone": ("TIME_ZONE", "Mars/Olympus", "HUAJUAN_TIME_ZONE must be an IANA name"),
    "secret": ("JWT_SECRET", "too short", "HUAJUAN_JWT_SECRET must be at least 32 bytes long"),
    "workers": ("WORKERS", "0", "HUAJUAN_WORKERS is '0': it must be a whole number from 1 to 256"),
    "limit": ("LOGIN_ACCOUNT_FAILURES_MAX", "-1", "HUAJUAN_LOGIN_ACCOUNT_FAILURES_MAX"),
    "tables": (
        "READYZ_OPTIONAL_TABLES",
        "nothing",
        "HUAJUAN_READYZ_OPTIONAL_TABLES must be names of read tables",
    ),
    "an old name": (
        "REPLIES_KEPT_BYTES_MAX",
        "0",
        "HUAJUAN_REPLIES_KEPT_BYTES_MAX is now named HUAJUAN_RESPONSE_CACHE",
    ),
    "painter": ("COMFYUI_URLS", "localhost:8188", "HUAJUAN_COMFYUI_URLS must be addresses"),
    "storage": ("STORAGE_URL", "carrier://pigeon", "HUAJUAN_STORAGE_URL"),
    "workflow": ("WORKFLOW", "no/such.json", "HUAJUAN_WORKFLOW is 'no/such.json': No such file or directory"),
    "a folder": ("WORKFLOW", "/", "HUAJUAN_WORKFLOW is '/': Is a directory"),
    "database": ("DATABASE_URL", NOBODY_LISTENS, "HUAJUAN_DATABASE_URL: "),
    "DSN": ("DATABASE_URL", "not a DSN, too short", "HUAJUAN_DATABASE_URL: it cannot be read: "),
    "DSN with a password": (
        "DATABASE_URL",
        "host=127.0.0.1 port=1 password='too short'",
        "HUAJUAN_DATABASE_URL: ",
    ),
    "storage with a secret": (
        "STORAGE_URL",
        "carrier://id:too short@pigeon",
        "HUAJUAN_STORAGE_URL is 'carrier://***@",
    ),
}


@pytest.fixture
def nothing_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("os.environ", environment(data_dir=folder / "data", port=free_port()))
    monkeypatch.setattr(sys, "argv", ["huajuan", "serve"])
    monkeypatch.setattr("huajuan.server.serve.run_until_stopped", lambda *_: pytest.fail("it serves"))
    yield
    configure_logs(readable=True)


@pytest.mark.usefixtures("nothing_set")
@pytest.mark.parametrize(("name", "value", "why"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_setting_is_reported(
    name: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"HUAJUAN_{name}", value)
    assert run() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"huajuan: {why}")
    assert "too short" not in line, "a secret is not repeated"


def _two_savers() -> str:
    twice = own_workflow()
    twice["12:3"] = twice["7"]
    return json.dumps(twice)


WORKFLOWS = {
    _two_savers(): "node 7 (SaveImage) and node 12:3 (SaveImage) both name their files by exactly {prefix}: ",
    "{": "it is no JSON: ",
    "[]": "the workflow is not in API format",
    '{"nodes": [], "links": []}': "the workflow is not in API format but in the editor's own",
    '{"1": {"class_type": "X", "inputs": {"a": "{b}"}}}': "node 1 (X), input a: unknown placeholder {b}, ",
    "[" * 100_000: "it is no JSON: ",
    '"' + "x" * (1 << 20) + '"': "it is longer than 1,048,576 bytes",
}


@pytest.mark.usefixtures("nothing_set")
@pytest.mark.parametrize(("text", "why"), WORKFLOWS.items(), ids=WORKFLOWS.values())
def test_an_invalid_workflow_file_is_reported(
    text: str, why: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "my.json").write_text(text)
    monkeypatch.setenv("HUAJUAN_WORKFLOW", str(folder / "my.json"))
    assert run() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"huajuan: HUAJUAN_WORKFLOW is '{folder}/my.json': {why}")


@pytest.mark.usefixtures("nothing_set")
@pytest.mark.parametrize("name", ["pictures", "pictures/avatars"])
def test_a_file_as_picture_folder_is_reported(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    monkeypatch.setenv("HUAJUAN_STORAGE_URL", str(folder / "pictures"))
    assert run() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"huajuan: HUAJUAN_STORAGE_URL is '{folder}/pictures': ")


def test_an_object_store_that_does_not_answer_is_reported() -> None:
    with pointing_at("http://127.0.0.1:9"), pytest.raises(SettingsError) as refused:
        _storage(Settings(storage_url="s3://bucket"))
    (line,) = str(refused.value).splitlines()
    assert line.startswith("HUAJUAN_STORAGE_URL is 's3://bucket': ")


def test_the_process_exits_with_1_and_one_line(folder: Path) -> None:
    with Service(folder, database_url=NOBODY_LISTENS) as refused:
        assert refused.process.wait(60) == 1
        (line,) = refused.told.splitlines()
        assert line.startswith("huajuan: HUAJUAN_DATABASE_URL: connection failed")


def test_an_impossible_data_folder_is_reported(folder: Path) -> None:
    (folder / "data").write_text("a file, not a folder")
    with Service(folder) as refused:
        assert refused.process.wait(60) == 1
        (line,) = refused.told.splitlines()
        assert line.startswith("huajuan: HUAJUAN_DATA_DIR")
