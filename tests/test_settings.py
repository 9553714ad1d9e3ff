"""Settings: the promised defaults, one variable a field, ranges, invalid values and unknown names."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_origin
from zoneinfo import ZoneInfo

import pytest

from huajuan.server.limits import TEST_LIMITS, ServiceLimits, limits_of
from huajuan.settings import Settings, SettingsError, declared, from_environment, unknown_variables
from huajuan.settings.__main__ import page
from huajuan.settings.environment import OTHER_VARIABLES, RENAMED
from tests.server.service import CHECKOUT, environment

SETTINGS_MAX = 50
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
REFUSED = {
    "PORT": ["0", "65536", "abc", "80.5", "-1"],
    "WORKERS": ["0", "257", "two"],
    "WELCOME_POINTS": ["-1"],
    "BCRYPT_COST": ["3", "17"],
    "CONNECTIONS_MAX": ["1"],
    "HTTP_HEADER_BYTES_MAX": ["0", "1023", "2000000"],
    "HTTP_KEEP_ALIVE_SECONDS": ["-1", "86401"],
    "HTTP_CONNECTIONS_MAX": ["-1", "60001"],
    "TOKEN_HOURS": ["0", "-1", "nan", "inf"],
    "GENERATE_WAIT_SECONDS": ["0", "nan"],
    "JOBS_PER_SERVER_MAX": ["0", "-1", "1.5", "many"],
    "NO_SERVER_TIMEOUT_SECONDS": ["-0.1", "nan", "inf"],
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
}


NUMBERS = {name.upper(): setting for name, (kind, setting) in declared().items() if kind in (int, float)}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_is_the_promised_one(name: str) -> None:
    assert getattr(from_environment({}), name) == DEFAULTS[name]


def test_an_operator_reads_at_most_fifty_settings() -> None:
    assert 40 < len(declared()) <= SETTINGS_MAX


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_set_by_the_variable_of_its_name(name: str) -> None:
    field, (kind, setting) = name.lower(), declared()[name.lower()]
    default = getattr(Settings(), field)
    value = kind(default + 1 if default + 1 in setting.range else default - 1)
    settings = from_environment({f"HUAJUAN_{name}": str(value)})
    assert settings == dataclasses.replace(Settings(), **{field: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_range_with_its_default_in_it(name: str) -> None:
    allowed = NUMBERS[name].range
    assert 0 <= allowed.minimum < allowed.maximum < 2**53
    assert getattr(Settings(), name.lower()) in allowed


def test_every_setting_is_documented() -> None:
    for kind, setting in declared().values():
        assert setting.text
        assert setting.range.maximum == 0 or kind in (int, float)
        assert kind in (int, float, str) or get_origin(kind) is not None


def test_the_page_of_the_settings_is_the_generated_one() -> None:
    """`python -m huajuan.settings > docs/settings.md` writes it."""
    assert (CHECKOUT / "docs" / "settings.md").read_text("utf-8") == page()


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


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_its_range_is_refused_in_one_line(name: str) -> None:
    allowed = NUMBERS[name].range
    outside = [str(allowed.maximum + 1), str(10**19), *ODD]
    for text in outside if allowed.minimum == 0 else ["0", *outside]:
        with pytest.raises(SettingsError) as refused:
            from_environment({f"HUAJUAN_{name}": text})
        assert str(refused.value).startswith(f"HUAJUAN_{name} is {text[:100]!r}: it must be a")
        assert str(refused.value).endswith(f" number from {allowed}")
        assert len(str(refused.value).splitlines()) == 1


def test_a_choice_that_is_none_names_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"^HUAJUAN_CHECK_IN_LIMIT is 'hourly': .* daily, none$"):
        from_environment({"HUAJUAN_CHECK_IN_LIMIT": "hourly"})


def test_an_old_name_stops_the_start_and_names_the_new_one() -> None:
    for old, new in RENAMED.items():
        assert new.removeprefix("HUAJUAN_").lower() in declared()
        with pytest.raises(SettingsError, match=f"^{old} is now named {new}: "):
            from_environment({old: "5"})
    assert from_environment(dict.fromkeys(RENAMED, "")) == Settings()


UNKNOWN = {
    "HUAJUAN_DATABSE_URL": "; did you mean HUAJUAN_DATABASE_URL?",
    "HUAJUAN_DISPATCH_LEASE_SECONDS": "",
    "HUAJUAN_LOG_QUEUE_SAVES_MAX": "",
    "HUAJUAN_WORKER": "; did you mean HUAJUAN_WORKERS?",
}


UNKNOWN_BY_VALUE = dict.fromkeys(UNKNOWN, "5")


def test_a_variable_that_is_no_setting_is_named() -> None:
    """One misspelled, and one of a setting that was removed."""
    assert from_environment(UNKNOWN_BY_VALUE) == Settings()
    found = list(unknown_variables({**UNKNOWN_BY_VALUE, "HUAJUAN_WORKERS": "2", "PATH": "/bin"}))
    assert found == [f"{name} is not a setting and has no effect{more}" for name, more in UNKNOWN.items()]


def test_each_verb_warns_at_its_start(tmp_path: Path) -> None:
    given = environment(data_dir=tmp_path) | UNKNOWN_BY_VALUE
    command = [sys.executable, "-P", "-m", "huajuan", "status"]
    ran = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)
    assert ran.stdout == ""
    lines = ran.stderr.splitlines()
    assert [name for name in UNKNOWN if any(f"{name} is not a setting" in line for line in lines)] == [
        *UNKNOWN
    ]
    assert "there is no database" in lines[-1]


def test_variables_of_other_uses_are_known() -> None:
    internal = dict.fromkeys((TEST_LIMITS, "_HUAJUAN_SERVER_PID", "huajuan_port"), "1")
    assert list(unknown_variables(dict.fromkeys(OTHER_VARIABLES, "x") | internal)) == []


KUBERNETES = {
    "HUAJUAN_SERVICE_HOST": "10.0.0.1",
    "HUAJUAN_SERVICE_PORT": "8080",
    "HUAJUAN_SERVICE_PORT_HTTP": "8080",
    "HUAJUAN_PORT": "tcp://10.0.0.1:8080",
    "HUAJUAN_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "HUAJUAN_PORT_8080_TCP_PROTO": "tcp",
    "HUAJUAN_PORT_8080_TCP_PORT": "8080",
    "HUAJUAN_PORT_8080_TCP_ADDR": "10.0.0.1",
    "HUAJUAN_DB_SERVICE_HOST": "10.0.0.2",
    "HUAJUAN_DB_PORT": "tcp://10.0.0.2:5432",
    "HUAJUAN_DB_PORT_5432_TCP": "tcp://10.0.0.2:5432",
}


def test_variables_that_kubernetes_sets_for_a_service_are_left_alone() -> None:
    assert from_environment(KUBERNETES) == Settings()
    assert list(unknown_variables(KUBERNETES)) == []


def test_the_variables_in_the_code_are_known() -> None:
    """A text that names a variable names one that exists."""
    known = {f"HUAJUAN_{name.upper()}" for name in declared()} | OTHER_VARIABLES.keys() | RENAMED.keys()
    for path in [*(CHECKOUT / "huajuan").rglob("*.py"), *(CHECKOUT / "docs").glob("*.md")]:
        found = re.findall(r"(?<![A-Z_])HUAJUAN_[A-Z_]*[A-Z]", path.read_text("utf-8"))
        assert not set(found) - known - {"HUAJUAN_X", "HUAJUAN_COMFYUI"}, path


def test_operator_settings_set_their_limits() -> None:
    given = {"JOBS_PER_SERVER_MAX": "3", "HTTP_CONNECTIONS_MAX": "9", "LOGIN_WINDOW_SECONDS": "2.5"}
    limits = limits_of(from_environment({f"HUAJUAN_{name}": text for name, text in given.items()}), {})
    assert limits.jobs.jobs_per_server_max == 3
    assert limits.http.connections_max == 9
    assert limits.login.window_seconds == 2.5
    assert limits_of(Settings(), {}) == ServiceLimits()


def test_the_client_waits_no_longer_than_a_job_may_take() -> None:
    client = limits_of(from_environment({"HUAJUAN_JOB_SECONDS_MAX": "7"}), {}).inference_client
    assert (client.job_seconds_max, client.unreachable_seconds_max) == (7, 7)
    assert client.seconds_without_progress_max == 7


def test_tests_set_constants_by_one_variable() -> None:
    given = {"jobs": {"lease_seconds": 5.5, "attempts_max": 2}, "worker": {"sweep_batch_max": 7}}
    limits = limits_of(Settings(), {TEST_LIMITS: json.dumps(given)})
    assert (limits.jobs.lease_seconds, limits.jobs.attempts_max) == (5.5, 2)
    assert type(limits.jobs.attempts_max) is int
    assert limits.worker.sweep_batch_max == 7
    assert limits.jobs.heartbeat_seconds == ServiceLimits().jobs.heartbeat_seconds


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"nothing": {}}',
        '{"jobs": {"nothing": 1}}',
        '{"jobs": {"attempts_max": 1.5}}',
        '{"jobs": {"lease_seconds": "5"}}',
        '{"jobs": {"lease_seconds": 1, "heartbeat_seconds": 1}}',
        '{"idempotency": {"lease_seconds": 1}}',
    ],
)
def test_the_test_variable_is_strict(text: str) -> None:
    """An unknown name, another type, and a lease that its heartbeat outlives."""
    with pytest.raises(SettingsError, match=f"^{TEST_LIMITS}"):
        limits_of(Settings(), {TEST_LIMITS: text})


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
