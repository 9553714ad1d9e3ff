"""The data folder with a strict umask, without a home directory, and after a failed start."""

import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from huajuan.embedded_postgres import account
from huajuan.embedded_postgres.folders import make_folders
from huajuan.server.data_folder import creating_data_folder
from huajuan.server.database import create_tables
from huajuan.settings import Settings, SettingsError, from_environment
from tests.server.service import Service

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def a_fresh_folder(folder: Path) -> Path:
    return folder


def missing_parents(folder: Path) -> Path:
    return folder / "of" / "a" / "service"


def one_made_by_hand(folder: Path) -> Path:
    (folder / "data").mkdir()
    return folder


@pytest.mark.usefixtures("strict_umask")
@pytest.mark.parametrize("place", [a_fresh_folder, missing_parents, one_made_by_hand])
def test_it_starts_under_a_strict_umask(folder: Path, place: Callable[[Path], Path]) -> None:
    root = place(folder)
    with Service(folder, data_dir=root / "data") as service:
        service.ready()
    assert (root / "data" / "signing.key").stat().st_mode & 0o077 == 0


@as_root
@pytest.mark.usefixtures("strict_umask")
def test_a_private_folder_with_content_stays_private(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    (data / "precious").touch()
    with creating_data_folder(data):
        assert data.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_created_folders_do_not_depend_on_the_umask(folder: Path, mask: int) -> None:
    wanted = 0o711 if os.geteuid() == 0 else 0o700
    before = os.umask(mask)
    try:
        missing = make_folders(folder / "one" / "two")
    finally:
        os.umask(before)
    assert missing == [folder / "one", folder / "one" / "two"]
    assert [path.stat().st_mode & 0o777 for path in missing] == [wanted, wanted]


FAILING = {
    "database": {"database_url": "postgresql://127.0.0.1:1/huajuan"},
    "workflow": {"workflow": "no/such.json"},
    "storage": {"storage_url": "carrier://pigeon"},
    "programs": {},
}


@pytest.mark.parametrize("settings", FAILING.values(), ids=FAILING)
def test_a_failed_start_leaves_no_empty_folder(
    folder: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUAJUAN_PG_BIN", str(folder / "no programs here"))
    with Service(folder, data_dir=folder / "made" / "data", **settings) as refused:
        assert refused.process.wait(60) == 1
    assert not (folder / "made").exists()


def test_a_late_failure_leaves_nothing(folder: Path, database_url: str) -> None:
    """A failure after the timelines were recorded and the key was created."""
    create_tables(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE operations.installation SET picture_store = gen_random_uuid()")
    made = folder / "made"
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "huajuan-installation").write_text("another installation's")
    with Service(
        folder, data_dir=made / "data", database_url=database_url, storage_url=folder / "elsewhere"
    ) as refused:
        assert refused.process.wait(60) == 1
    assert not made.exists()
    assert [path.name for path in (folder / "elsewhere").iterdir()] == ["huajuan-installation"]


def test_a_started_service_keeps_its_key(folder: Path, database_url: str) -> None:
    create_tables(database_url)
    with Service(folder, database_url=database_url) as service:
        service.ready()
        service.process.terminate()
        assert service.process.wait(60) == 0
    assert (folder / "data" / "signing.key").exists()


def test_a_failed_start_keeps_existing_files(folder: Path) -> None:
    (folder / "data").mkdir()
    with Service(folder, database_url="postgresql://127.0.0.1:1/huajuan") as refused:
        assert refused.process.wait(60) == 1
    assert (folder / "data").is_dir()


def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(pwd, "getpwuid", _unknown)


def _unknown(uid: int) -> pwd.struct_passwd:
    raise KeyError(uid)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "HUAJUAN_DATA_DIR"),
        ({"HUAJUAN_DATA_DIR": "~/data"}, "HUAJUAN_DATA_DIR"),
        ({"HUAJUAN_STORAGE_URL": "~/pics"}, "HUAJUAN_STORAGE_URL"),
    ],
)
def test_without_a_home_the_setting_is_named(
    settings: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_home(monkeypatch)
    with pytest.raises(SettingsError, match=f"{named}: .*no home directory"):
        _ = _places(from_environment(settings))


def _places(settings: Settings) -> tuple[str, Path]:
    return settings.storage_place, settings.data_folder


def test_absolute_paths_need_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_home(monkeypatch)
    settings = from_environment({"HUAJUAN_DATA_DIR": str(tmp_path)})
    assert _places(settings) == (str(tmp_path / "pictures"), tmp_path)


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = from_environment({"HUAJUAN_STORAGE_URL": "~/pics", "HUAJUAN_DATA_DIR": "~/data"})
    assert _places(settings) == (str(tmp_path / "pics"), tmp_path / "data")
    assert from_environment({"HUAJUAN_STORAGE_URL": "s3://bucket/~"}).storage_place == "s3://bucket/~"


@as_root
def test_an_added_account_is_announced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told, known = list[str](), set[str]()
    monkeypatch.setattr(account, "_existing", lambda name: pwd.getpwnam("nobody") if name in known else None)
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: known.add(account.SERVICE_ACCOUNT))
    assert account.choose_account(tmp_path / "none", told.append).name == "nobody"
    assert told == ["adding the system account 'huajuan', because PostgreSQL refuses to run as root"]
    account.choose_account(tmp_path / "none", told.append)
    assert len(told) == 1
