"""Reads the settings from environment variables, and checks names and values."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, get_args, get_origin
from zoneinfo import ZoneInfoNotFoundError

import msgspec

from huajuan.domain.inference_servers import is_server_address
from huajuan.net.client_address import TrustedProxies
from huajuan.net.urls import ascii_address, base_of
from huajuan.settings.fields import PREFIX, Setting, Settings, SettingsError, declared

SHOWN_CHARACTERS_MAX = 100
# Variables of this program that are no settings of the service, with where they are read.
OTHER_VARIABLES = {
    "HUAJUAN_PG_BIN": "a folder with other Postgres binaries for the embedded server",
    "HUAJUAN_VENV": "another folder for the virtual environment of `./run`",
    "HUAJUAN_TEST_DATABASE_URL": "a Postgres server for the tests, instead of an embedded one",
    "HUAJUAN_MODEL_STEPS": "the number of steps of the model test",
    "HUAJUAN_FUZZ_CASES": "the number of cases of each fuzz test",
}
# Old name → new name. A variable with an old name stops the start, because its value would be ignored.
RENAMED = {
    "HUAJUAN_DISPATCH_JOB_SECONDS_MAX": "HUAJUAN_JOB_SECONDS_MAX",
    "HUAJUAN_DISPATCH_JOBS_OF_ACCOUNT_MAX": "HUAJUAN_JOBS_PER_ACCOUNT_MAX",
    "HUAJUAN_DISPATCH_JOBS_OF_HOST_MAX": "HUAJUAN_JOBS_PER_SERVER_MAX",
    "HUAJUAN_DISPATCH_JOBS_WAITING_MAX": "HUAJUAN_JOBS_WAITING_MAX",
    "HUAJUAN_DISPATCH_NOBODY_SECONDS_MAX": "HUAJUAN_NO_SERVER_TIMEOUT_SECONDS",
    "HUAJUAN_ERASE_SETTLE_SECONDS": "HUAJUAN_ERASURE_GRACE_SECONDS",
    "HUAJUAN_PAINTER_SECONDS_WITHOUT_PROGRESS_MAX": "HUAJUAN_COMFYUI_SECONDS_WITHOUT_PROGRESS_MAX",
    "HUAJUAN_PAINTER_UNREACHABLE_SECONDS_MAX": "HUAJUAN_COMFYUI_UNREACHABLE_SECONDS_MAX",
    "HUAJUAN_REPLIES_KEPT_BYTES_MAX": "HUAJUAN_RESPONSE_CACHE_BYTES_MAX",
}
# Kubernetes sets these in each pod, for services named `huajuan` and `huajuan-…`.
_KUBERNETES = re.compile(
    r"HUAJUAN_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT = re.compile(r"HUAJUAN_(\w+_)?PORT")
_KUBERNETES_URL = re.compile(r"(tcp|udp|sctp)://")
_NAMES = {f"{PREFIX}{name.upper()}": name for name in declared()}
_SIMILARITY_MIN = 0.8
_BASE = "begin with http:// or https:// and name a host, without user, query or fragment"
_NEEDS = {
    "jwt_secret": "must be at least 32 bytes long",
    "time_zone": "must be an IANA name such as UTC or Asia/Shanghai",
    "cors_origins": "must be origins such as https://example.org:8443, without a path, separated by commas; "
    "or *",
    "trusted_proxies": "must be addresses or networks such as 127.0.0.1, ::1 or 10.0.0.0/8, separated by "
    "commas",
    "public_url": f"must {_BASE}",
    "public_url_aliases": f"must hold addresses, separated by commas, that each {_BASE}",
    "comfyui_urls": "must be addresses such as http://gpu:8188, separated by commas; "
    "write / ? # @ : , % of a password as %2F %3F %23 %40 %3A %2C %25",
}


def from_environment(environment: Mapping[str, str]) -> Settings:
    """An empty variable counts as absent. Raises `SettingsError` for an invalid value and for an old name."""
    given = {name: text for name, text in environment.items() if text and not _is_kubernetes(name, text)}
    for name in sorted(RENAMED.keys() & given.keys()):
        raise SettingsError(f"{name} is now named {RENAMED[name]}: rename the variable")
    fields = declared()
    values = {
        field: _value(name, *fields[field], given[name]) for name, field in _NAMES.items() if name in given
    }
    settings = Settings(**values)
    _check(settings)
    return settings


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each HUAJUAN_… variable without effect: one misspelled, or one of a removed setting."""
    for name, text in sorted(environment.items()):
        is_ours = name.startswith(PREFIX) and name not in _NAMES and name not in OTHER_VARIABLES
        if is_ours and not _is_kubernetes(name, text):
            close = get_close_matches(name, [*_NAMES, *OTHER_VARIABLES], n=1, cutoff=_SIMILARITY_MIN)
            question = f"; did you mean {close[0]}?" if close else ""
            yield f"{name} is not a setting and has no effect{question}"


def _is_kubernetes(name: str, text: str) -> bool:
    is_url = _KUBERNETES_PORT.fullmatch(name) and _KUBERNETES_URL.match(text)
    return bool(is_url or _KUBERNETES.fullmatch(name))


def _value(name: str, kind: Any, setting: Setting, text: str) -> Any:
    """Numbers are read as JSON has them: ASCII digits, no underscores, no spaces."""
    if get_origin(kind) is tuple:
        return tuple(word.strip() for word in text.split(",") if word.strip())
    with suppress(msgspec.ValidationError):
        value = msgspec.convert(text, kind, strict=False)
        if kind not in (int, float) or value in setting.range:
            return value
    if kind in (int, float):
        expected = f"{'a whole number' if kind is int else 'a number'} from {setting.range}"
    else:
        expected = f"one of {', '.join(get_args(kind))}"
    raise SettingsError(f"{name} is {text[:SHOWN_CHARACTERS_MAX]!r}: it must be {expected}")


def _check(settings: Settings) -> None:
    """The rules that are no bounds of a number."""
    rules = {
        "jwt_secret": not settings.jwt_secret or len(settings.jwt_secret.encode()) >= 32,
        "time_zone": _is_readable(lambda: settings.zone),
        "cors_origins": _is_readable(lambda: settings.allowed_origins),
        "trusted_proxies": _is_readable(lambda: TrustedProxies(settings.trusted_proxies)),
        "public_url": not settings.public_url or _is_public_url(settings.public_url),
        "public_url_aliases": all(map(_is_public_url, settings.public_url_aliases)),
        "comfyui_urls": all(map(is_server_address, settings.comfyui_urls)),
    }
    for name, holds in rules.items():
        if not holds:
            raise SettingsError(f"{PREFIX}{name.upper()} {_NEEDS[name]}")


def _is_public_url(url: str) -> bool:
    return base_of(url) is not None and _is_readable(lambda: ascii_address(url))


def _is_readable(read: Callable[[], object]) -> bool:
    try:
        read()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
