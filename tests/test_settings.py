"""Settings: the defaults that are promised, a variable for every bound, and bad values by name."""

from pathlib import Path
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
import pytest

from huajuan.settings import Settings, SettingsError, from_environment

DEFAULTS = {
    "database_url": "",
    "data_dir": "",
    "storage_url": "",
    "comfyui_urls": (),
    "checkpoint": "",
    "workflow": "",
    "host": "127.0.0.1",
    "port": 8080,
    "public_address": "http://localhost:8080",
    "workers": 1,
    "jwt_secret": "",
    "token_hours": 24,
    "zone": ZoneInfo("UTC"),
    "check_in_limit": "daily",
    "welcome_points": 0,
    "cors_origins": ("http://localhost:8081",),
    "generate_wait_seconds": 300,
    "bcrypt_cost": 12,
}
GROUPS = ("log", "projection", "dispatch", "painter", "audit")
REFUSED = {
    "PORT": ["0", "65536", "abc", "80.5", "-1"],
    "WORKERS": ["0", "257", "two"],
    "WELCOME_POINTS": ["-1"],
    "BCRYPT_COST": ["3", "17"],
    "BCRYPT_THREADS_MAX": ["0"],
    "CONNECTIONS_MAX": ["1"],
    "HTTP_REQUEST_LINE_BYTES_MAX": ["0", "65001"],
    "HTTP_HEADER_BYTES_MAX": ["0", "1023", "2000000"],
    "HTTP_HEADERS_MAX": ["0"],
    "HTTP_HEAD_SECONDS": ["0", "3601", "inf", "nan"],
    "HTTP_BODY_SECONDS": ["0"],
    "HTTP_WRITE_STALL_SECONDS": ["0"],
    "HTTP_KEEP_ALIVE_SECONDS": ["-1", "86401"],
    "HTTP_CONNECTIONS_MAX": ["-1", "60001"],
    "HTTP_UNSENT_BYTES_MAX": ["0"],
    "AUDIT_THREADS_MAX": ["0"],
    "TOKEN_HOURS": ["0", "-1", "nan", "inf"],
    "GENERATE_WAIT_SECONDS": ["0", "nan"],
    "CHECK_IN_LIMIT": ["hourly"],
    "JWT_SECRET": ["x" * 31],
    "TIME_ZONE": ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Asia", "\0"],
    "PUBLIC_URL": [
        "localhost:8080",
        "ftp://example.com",
        "http://",
        "http://[bad",
        "http://h/?a",
        "http://h#b",
    ],
    "COMFYUI_URLS": ["localhost:8188", "http://one, two"],
    "LOG_QUEUE_SAVES_MAX": ["-1", "1.5", "many"],
    "LOG_LOCK_SECONDS_MAX": ["-0.1", "nan", "inf"],
}


def bounds() -> list[tuple[str, str, type]]:
    """Group, name and type of every limit."""
    groups = {group: get_type_hints(type(getattr(Settings(), group))) for group in GROUPS}
    return [(group, name, kind) for group, limits in groups.items() for name, kind in limits.items()]


@pytest.mark.parametrize("name", DEFAULTS)
def test_nothing_need_be_set(name: str) -> None:
    assert getattr(from_environment({}), name) == DEFAULTS[name]


def test_every_number_is_set_by_the_variable_of_its_name() -> None:
    numbers = {n: k for n, k in get_type_hints(Settings).items() if k in (int, float)}
    assert len(numbers) > 10
    for name, kind in numbers.items():
        settings = from_environment({f"HUAJUAN_{name.upper()}": "16"})
        assert settings == msgspec.structs.replace(Settings(), **{name: kind(16)})


@pytest.mark.parametrize(("group", "name", "kind"), bounds())
def test_every_bound_has_a_variable(group: str, name: str, kind: type) -> None:
    settings = from_environment({f"HUAJUAN_{group}_{name}".upper(): "77"})
    changed = msgspec.structs.replace(getattr(Settings(), group), **{name: kind(77)})
    assert settings == msgspec.structs.replace(Settings(), **{group: changed})


def test_a_bound_is_found_under_the_name_an_operator_reads() -> None:
    assert from_environment({"HUAJUAN_LOG_QUEUE_SAVES_MAX": "5"}).log.queue_saves_max == 5
    assert from_environment({"HUAJUAN_PAINTER_READ_SECONDS_MAX": "1.5"}).painter.read_seconds_max == 1.5


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("http://one:8188", ("http://one:8188",)),
        ("http://one:8188,https://two", ("http://one:8188", "https://two")),
        (" http://one , , https://two, ", ("http://one", "https://two")),
        (",", ()),
    ],
)
def test_a_list_is_separated_by_commas(text: str, urls: tuple[str, ...]) -> None:
    assert from_environment({"HUAJUAN_COMFYUI_URLS": text}).comfyui_urls == urls


def test_an_empty_variable_counts_as_absent() -> None:
    assert from_environment({"HUAJUAN_PORT": "", "HUAJUAN_CORS_ORIGINS": ""}) == Settings()


def test_other_programs_variables_are_left_alone() -> None:
    assert from_environment({"PORT": "1", "HUAJUAN_PG_BIN": "/x", "huajuan_port": "1"}) == Settings()


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in REFUSED.items() for v in values])
def test_a_value_that_cannot_be_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^HUAJUAN_{name} ") as refused:
        from_environment({f"HUAJUAN_{name}": value})
    assert len(str(refused.value).splitlines()) == 1


def test_a_secret_that_is_refused_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({"HUAJUAN_JWT_SECRET": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_a_secret_is_measured_in_bytes() -> None:
    assert from_environment({"HUAJUAN_JWT_SECRET": "画" * 11}).jwt_secret == "画" * 11


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"HUAJUAN_PORT": "9000"}, "http://localhost:9000"),
        ({"HUAJUAN_PUBLIC_URL": "https://scroll.example/"}, "https://scroll.example"),
    ],
)
def test_the_public_address_has_no_slash_at_its_end(given: dict[str, str], address: str) -> None:
    assert from_environment(given).public_address == address


@pytest.mark.parametrize(
    ("uid", "environment", "folder"),
    [
        (0, {}, "/var/lib/huajuan"),
        (1000, {}, "/home/ann/.local/share/huajuan"),
        (1000, {"XDG_DATA_HOME": "/data"}, "/data/huajuan"),
    ],
)
def test_data_has_its_place_by_custom(
    uid: int, environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for name, value in {"HOME": "/home/ann", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert from_environment({}).data_folder == Path(folder)


def test_a_data_folder_may_be_given_from_home_or_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    folders: dict[str, Any] = {"~/scroll": Path("/home/ann/scroll"), "scroll": Path.cwd() / "scroll"}
    for given, folder in folders.items():
        assert from_environment({"HUAJUAN_DATA_DIR": given}).data_folder == folder
