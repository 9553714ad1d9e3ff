"""Settings: the defaults that are promised, a variable for every bound, and bad values by name."""

from pathlib import Path
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
import pytest

from huajuan.setting_ranges import OWN, range_of
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
    "trusted_proxies": (),
    "registration": "open",
    "registrations_per_address_hour": 20,
    "generate_wait_seconds": 300,
    "bcrypt_cost": 12,
}
GROUPS = (
    *("log", "projection", "dispatch", "painter", "login", "idempotency", "rebuild", "audit", "streams"),
    "http",
)
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
    "TRUSTED_PROXIES": [
        "proxy.example",
        "10.0.0.0/33",
        "10.0.0.1,*",
        "unix:/run/x",
        "::1/129",
        "10.0.0.1 10.0.0.2",
    ],
    "REGISTRATION": ["no", "Open", "true"],
    "REGISTRATIONS_PER_ADDRESS_HOUR": ["-1", "1.5", "1000001", "many"],
    "LOGIN_ACCOUNT_FAILURES_MAX": ["0", "-1", "1000001"],
    "LOGIN_ADDRESS_FAILURES_MAX": ["0", "1000001"],
    "LOGIN_WINDOW_SECONDS": ["0", "86401", "inf"],
    "LOGIN_WAIT_SECONDS": ["601"],
    "LOGIN_ATTEMPT_SECONDS_MAX": ["0", "601"],
    "LOGIN_KNOWN_ADDRESSES_MAX": ["1001"],
    "LOGIN_KNOWN_ADDRESS_DAYS": ["3651"],
    "JWT_SECRET": ["x" * 31],
    "TIME_ZONE": ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Asia", "\0"],
    "PUBLIC_URL": [
        "localhost:8080",
        "ftp://example.com",
        "http://",
        "http://[bad",
        "http://h/?a",
        "http://h#b",
        "http://me@h",
    ],
    "PUBLIC_URL_ALIASES": ["localhost:8080", "http://old.example,ftp://example.com", "http://old.example/#x"],
    "COMFYUI_URLS": ["localhost:8188", "http://one, two", "http://", "HTTP://:8188", "http://one:99999"],
    "LOG_QUEUE_SAVES_MAX": ["-1", "1.5", "many"],
    "LOG_LOCK_SECONDS_MAX": ["-0.1", "nan", "inf"],
}


def bounds() -> list[tuple[str, str, type]]:
    """Group, name and type of every limit."""
    groups = {group: get_type_hints(type(getattr(Settings(), group))) for group in GROUPS}
    return [(group, name, kind) for group, limits in groups.items() for name, kind in limits.items()]


def numbers() -> dict[str, Any]:
    """Every setting that is a number, by the name of its variable without HUAJUAN_, with its default."""
    own = {
        n.upper(): getattr(Settings(), n) for n, k in get_type_hints(Settings).items() if k in (int, float)
    }
    grouped = {f"{g}_{n}".upper(): getattr(getattr(Settings(), g), n) for g, n, _ in bounds()}
    return own | grouped


def another(name: str, kind: type) -> Any:
    """A value beside the default."""
    allowed, default = range_of(name), numbers()[name]
    return kind(default + 1 if default + 1 in allowed else default - 1)


@pytest.mark.parametrize("name", DEFAULTS)
def test_nothing_need_be_set(name: str) -> None:
    assert getattr(from_environment({}), name) == DEFAULTS[name]


def test_every_number_is_set_by_the_variable_of_its_name() -> None:
    kinds = {n: k for n, k in get_type_hints(Settings).items() if k in (int, float)}
    assert len(kinds) > 10
    for name, kind in kinds.items():
        value = another(name.upper(), kind)
        settings = from_environment({f"HUAJUAN_{name.upper()}": str(value)})
        assert settings == msgspec.structs.replace(Settings(), **{name: value})


@pytest.mark.parametrize(("group", "name", "kind"), bounds())
def test_every_bound_has_a_variable(group: str, name: str, kind: type) -> None:
    variable = f"{group}_{name}".upper()
    value = another(variable, kind)
    settings = from_environment({f"HUAJUAN_{variable}": str(value)})
    changed = msgspec.structs.replace(getattr(Settings(), group), **{name: value})
    assert settings == msgspec.structs.replace(Settings(), **{group: changed})


@pytest.mark.parametrize("name", numbers())
def test_every_number_has_a_range_with_its_default_in_it(name: str) -> None:
    allowed = range_of(name)
    assert 0 <= allowed.least < allowed.most < 2**53
    assert numbers()[name] in allowed


def test_every_group_is_looked_at_and_no_range_is_left_of_a_setting_that_is_gone() -> None:
    groups = [n for n, hint in get_type_hints(Settings).items() if hasattr(hint, "__struct_fields__")]
    assert sorted(groups) == sorted(GROUPS)
    assert set(OWN) <= set(numbers())


ODD = [
    "1e400",
    "-1",
    "nan",
    "inf",
    "-inf",
    "1_0",
    " 5",
    "5\n",
    "\uff15",
    "0x5",
    "five",
    "9" * 400,
    "5,5",
    "+5",
]


@pytest.mark.parametrize("name", numbers())
def test_a_number_out_of_its_range_is_refused_in_one_line(name: str) -> None:
    allowed = range_of(name)
    outside = [str(allowed.most + 1), str(10**19), *ODD]
    for text in outside if allowed.least == 0 else ["0", *outside]:
        with pytest.raises(SettingsError) as refused:
            from_environment({f"HUAJUAN_{name}": text})
        assert str(refused.value).startswith(f"HUAJUAN_{name} is {text[:100]!r}: it must be a")
        assert str(refused.value).endswith(f" number from {allowed}")
        assert len(str(refused.value).splitlines()) == 1


def test_a_choice_that_is_none_names_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"^HUAJUAN_CHECK_IN_LIMIT is 'hourly': .* daily, none$"):
        from_environment({"HUAJUAN_CHECK_IN_LIMIT": "hourly"})


def test_a_lease_outlives_its_heartbeat() -> None:
    with pytest.raises(SettingsError, match=r"^HUAJUAN_DISPATCH_LEASE_SECONDS must be more than"):
        from_environment({"HUAJUAN_DISPATCH_HEARTBEAT_SECONDS": "20"})


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


def test_trusted_proxies_are_addresses_and_networks() -> None:
    given = "127.0.0.1, ::1,10.0.0.0/8 , 2001:db8::/32, 192.0.2.7/24"
    proxies = from_environment({"HUAJUAN_TRUSTED_PROXIES": given}).trusted_proxies
    assert proxies == ("127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32", "192.0.2.7/24")


def test_the_scheme_of_an_address_may_be_in_capitals() -> None:
    given = {"HUAJUAN_COMFYUI_URLS": "HTTP://GPU-2:8188, Https://gpu"}
    assert from_environment(given).comfyui_urls == ("HTTP://GPU-2:8188", "Https://gpu")


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
