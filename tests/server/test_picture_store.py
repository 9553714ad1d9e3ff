"""A start with a store of other pictures is refused, until an operator adopts the store."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from huajuan.cli.main import run
from huajuan.projections.history import HISTORY
from huajuan.runtime.logs import configure_logs
from huajuan.server.database import create_tables
from huajuan.server.picture_store import ForeignPictureStore, adopt_picture_store, claim_picture_store
from huajuan.server.server_leases import SHARED
from huajuan.settings import Settings, SettingsError, declared
from huajuan.storage.pictures import OWNER_KEY
from tests.database import Databases
from tests.server.service import environment, free_port

PICTURE = b"a picture"


@pytest.fixture
def store(tmp_path: Path) -> Callable[[str], Settings]:
    """The settings of a server with pictures in a folder of this name."""
    return lambda name: Settings(storage_url=str(tmp_path / name))


def folder(settings: Settings) -> Path:
    return Path(settings.storage_place)


def owner(settings: Settings) -> dict[str, str]:
    return dict(json.loads((folder(settings) / OWNER_KEY).read_text()))


def drawn(dsn: str, *places: Settings, hidden: bool = False) -> str:
    """A recorded picture, whose file is put into these stores."""
    image = uuid4()
    row = {"image_id": image, "account_id": uuid4(), "width": 1, "height": 1, "steps": 1, "hidden": hidden}
    row |= {
        "sampling_method": "DDIM",
        "likecount": 0,
        "generation_id": image.int % (1 << 39),
        "id": image.int % (1 << 40),
        "picture": f"{image.hex}.png",
    }
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    with psycopg.connect(dsn, autocommit=True) as connection:
        statement = f"INSERT INTO {HISTORY.schema}.history ({names}, create_time) VALUES ({values}, now())"
        connection.execute(statement.encode(), row)
    for place in places:
        folder(place).mkdir(exist_ok=True)
        (folder(place) / f"{image.hex}.png").write_bytes(PICTURE)
    return f"{image.hex}.png"


def recorded(dsn: str) -> UUID | None:
    with psycopg.connect(dsn) as connection:
        found: UUID | None
        (found,) = connection.execute("SELECT picture_store FROM operations.installation").fetchone() or (
            None,
        )
        return found


Store = Callable[[str], Settings]


def test_the_first_start_writes_the_owner(database_url: str, store: Store) -> None:
    a = store("a")
    claimed = claim_picture_store(a, database_url)
    assert claimed == recorded(database_url) == UUID(owner(a)["store"])
    drawn(database_url, a)
    before = owner(a)
    assert claim_picture_store(a, database_url) == claimed
    assert owner(a) == before


def test_an_empty_store_is_rejected_once_there_are_pictures(database_url: str, store: Store) -> None:
    a, b = store("a"), store("b")
    claim_picture_store(a, database_url)
    drawn(database_url, a)
    with pytest.raises(
        ForeignPictureStore, match="it is not the store that the pictures were put into"
    ) as refused:
        claim_picture_store(b, database_url)
    assert len(str(refused.value).splitlines()) == 1
    assert "./run storage adopt" in str(refused.value)
    assert not (folder(b) / OWNER_KEY).exists()
    assert claim_picture_store(a, database_url)


def test_before_the_first_picture_the_store_may_be_changed(database_url: str, store: Store) -> None:
    a, b = store("a"), store("b")
    first = claim_picture_store(a, database_url)
    drawn(database_url, hidden=True)
    second = claim_picture_store(b, database_url)
    assert first != second == recorded(database_url)
    assert claim_picture_store(a, database_url) == first, "and back"
    claim_picture_store(b, database_url)
    drawn(database_url, b)
    with pytest.raises(ForeignPictureStore):
        claim_picture_store(a, database_url)
    assert claim_picture_store(b, database_url) == second


def test_a_copy_of_the_store_is_accepted(database_url: str, store: Store) -> None:
    a, b = store("a"), store("b")
    claimed = claim_picture_store(a, database_url)
    drawn(database_url, a)
    shutil.copytree(folder(a), folder(b))
    assert claim_picture_store(b, database_url) == claimed


@pytest.mark.parametrize("has_pictures", [False, True])
def test_the_store_of_another_installation_is_rejected_unchanged(
    database_url: str, databases: Databases, store: Store, has_pictures: bool
) -> None:
    a = store("a")
    foreign = databases.dsn(name := databases.create())
    create_tables(foreign)
    claim_picture_store(a, foreign)
    before = owner(a)
    if has_pictures:
        drawn(database_url, a)
    with pytest.raises(ForeignPictureStore, match="it belongs to another installation"):
        claim_picture_store(a, database_url)
    assert owner(a) == before
    databases.retire(name)


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b'{"installation": 1}'])
def test_an_invalid_owner_object_is_another_installation(
    database_url: str, store: Store, content: bytes
) -> None:
    a = store("a")
    folder(a).mkdir()
    (folder(a) / OWNER_KEY).write_bytes(content)
    with pytest.raises(ForeignPictureStore):
        claim_picture_store(a, database_url)
    assert adopt_picture_store(a, database_url).is_new
    assert claim_picture_store(a, database_url)


@pytest.mark.parametrize(
    ("there", "missing", "starts"), [(3, 0, True), (30, 0, True), (2, 1, True), (1, 2, False), (0, 1, False)]
)
def test_a_store_without_owner_is_recognized_by_its_pictures(
    database_url: str, store: Store, there: int, missing: int, starts: bool
) -> None:
    a = store("a")
    for _ in range(there):
        drawn(database_url, a)
    for _ in range(missing):
        drawn(database_url)
    drawn(database_url, hidden=True)
    if starts:
        assert claim_picture_store(a, database_url) == UUID(owner(a)["store"])
        assert claim_picture_store(a, database_url) == recorded(database_url)
    else:
        with pytest.raises(
            ForeignPictureStore, match=f"{there} of {there + missing} sampled pictures are in it"
        ):
            claim_picture_store(a, database_url)
        assert recorded(database_url) is None


def test_a_start_killed_between_store_and_database_continues(database_url: str, store: Store) -> None:
    a = store("a")
    claimed = claim_picture_store(a, database_url)
    drawn(database_url, a)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE operations.installation SET picture_store = NULL")
    assert claim_picture_store(a, database_url) == claimed == recorded(database_url)


def test_a_store_in_memory_has_no_owner(database_url: str) -> None:
    assert claim_picture_store(Settings(storage_url="memory:///"), database_url) is None
    assert recorded(database_url) is None


def test_an_unwritable_store_is_reported(
    database_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = store("a")

    async def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huajuan.storage.pictures.obstore.put_async", full)
    with pytest.raises(SettingsError, match=r"HUAJUAN_STORAGE_URL is .*: .*No space left on device"):
        claim_picture_store(a, database_url)


def test_a_store_that_does_not_answer_is_reported(
    database_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("huajuan.storage.pictures.obstore.get_async", hang)
    monkeypatch.setattr("huajuan.server.picture_store.STORE_SECONDS_MAX", 0.01)
    with pytest.raises(SettingsError, match=r"HUAJUAN_STORAGE_URL is .*: it does not answer within"):
        claim_picture_store(store("a"), database_url)


class Served(Exception):
    """A service could start now."""


@pytest.fixture
def typed(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    def typed(words: str, **settings: Any) -> tuple[int, str, str]:
        given = {"data_dir": tmp_path / "data", "port": free_port(), "database_url": database_url}
        monkeypatch.setattr("os.environ", environment(comfyui_urls="http://127.0.0.1:1", **given, **settings))
        monkeypatch.setattr(sys, "argv", ["huajuan", *words.split()])
        return (run(), *capsys.readouterr())

    def served(*_: object) -> None:
        raise Served

    monkeypatch.setattr("huajuan.server.serve.run_until_stopped", served)
    yield typed
    configure_logs(readable=True)


def test_an_adopted_store_lets_the_service_start(
    typed: Callable[..., tuple[int, str, str]], database_url: str, store: Store
) -> None:
    a, b = store("a"), store("b")
    with pytest.raises(Served):
        typed("serve", storage_url=a.storage_url)
    drawn(database_url, a, b)
    drawn(database_url, a)
    status, out, err = typed("serve", storage_url=b.storage_url)
    (line,) = err.splitlines()
    assert (status, out) == (1, "")
    assert line.startswith(
        f"huajuan: HUAJUAN_STORAGE_URL is '{b.storage_url}': it is not the store that the pictures"
    )
    status, out, err = typed("storage adopt", storage_url=b.storage_url)
    assert (status, out.splitlines()) == (
        0,
        [
            f"{b.storage_url} holds the pictures of this installation from now on; "
            "before, it belonged to no installation",
            "1 of 2 sampled pictures are in it",
        ],
    )
    assert "404" in err
    with pytest.raises(Served):
        typed("serve", storage_url=b.storage_url)
    assert (
        "holds the pictures of this installation already"
        in typed("storage adopt", storage_url=b.storage_url)[1]
    )
    assert typed("serve", storage_url=a.storage_url)[0] == 1, "the former one is refused from now on"
    assert typed("storage adopt", storage_url="memory:///")[0] == 1


def test_another_secret_is_rejected_and_a_stop_deletes_the_lease(
    typed: Callable[..., tuple[int, str, str]],
    database_url: str,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = {"jwt_secret": "x" * 40, "storage_url": store("a").storage_url}
    with pytest.raises(Served):
        typed("serve", **secret)
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM operations.servers").fetchone() == (0,)
        insert = (
            "INSERT INTO operations.servers VALUES "
            "(gen_random_uuid(), 'gpu-1:7', 1, now(), now() + interval '1 h', '\\x00', '{}')"
        )
        connection.execute(insert.encode())
    monkeypatch.setattr("huajuan.server.server_leases.LEASE_SECONDS", 0.2)
    status, out, err = typed("serve", **secret)
    (line,) = err.splitlines()
    assert (status, out) == (1, "")
    assert line.startswith("huajuan: HUAJUAN_JWT_SECRET differs from that of the server gpu-1:7")
    assert "xxx" not in line


def test_the_settings_are_complete() -> None:
    """Each name must be one of a setting, else it is not compared."""
    assert set(SHARED) <= declared().keys()
