"""The operator settings: each is one field with its default, its unit, its bounds and its documentation."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_type_hints
from zoneinfo import ZoneInfo

import msgspec

from huajuan.domain.rules import ADJUSTMENT_MAX
from huajuan.net.origins import normalized_origin
from huajuan.observability.redaction import address_without_secrets

PREFIX = "HUAJUAN_"
# The prefix of variables by which processes of this program hand values to each other.
INTERNAL_PREFIX = "_HUAJUAN_"
_DAY, _WEEK = 24 * 3600, 7 * 24 * 3600
_TEN_YEARS_HOURS = 10 * 365 * 24
_MILLION = 1_000_000
_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30


class SettingsError(Exception):
    """A variable has an invalid value or an old name; the message names the variable."""


@dataclass(frozen=True)
class Setting:
    """The documentation of a setting, and the bounds of a number, both included.

    `topic` begins a new section of docs/settings.md. `default` describes a default that is computed.
    """

    text: str
    unit: str = ""
    least: float = 0
    most: float = 0
    default: str = ""
    topic: str = ""

    @property
    def range(self) -> str:
        return f"{self.least:,} to {self.most:,}"

    def allows(self, number: object) -> bool:
        return isinstance(number, int | float) and self.least <= number <= self.most


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Field `x` is set by the environment variable HUAJUAN_X."""

    host: Annotated[str, Setting("the address to listen on", topic="Address and processes")] = "127.0.0.1"
    port: Annotated[int, Setting("the TCP port to listen on", "", 1, 65535)] = 8080
    public_url: Annotated[
        str,
        Setting(
            "the base of picture URLs, `Link` and `Location`; a path in it, which a proxy removes, is kept",
            default="`http://localhost:<port>`",
        ),
    ] = ""
    public_url_aliases: Annotated[
        tuple[str, ...],
        Setting(
            "former values of `HUAJUAN_PUBLIC_URL`, comma-separated: picture URLs with them are still "
            "recognised, and stored avatar URLs with them are shown with the present one"
        ),
    ] = ()
    workers: Annotated[int, Setting("processes that serve requests; one a core", "processes", 1, 256)] = 1
    stop_seconds_max: Annotated[
        float, Setting("how long open requests may take after a stop signal", "seconds", 0, _DAY)
    ] = 10

    database_url: Annotated[
        str,
        Setting(
            "a Postgres 14 or newer, as `postgresql://…` or `host=… dbname=…`",
            default="the embedded Postgres",
            topic="Database and files",
        ),
    ] = ""
    connections_max: Annotated[
        int, Setting("the size of a worker's database pool", "connections", 2, 1000)
    ] = 8
    statement_seconds_max: Annotated[
        float, Setting("the statement time-out of the pool's connections", "seconds", 0.01, _WEEK)
    ] = 5
    log_reconnect_seconds_max: Annotated[
        float,
        Setting(
            "how long reads and writes wait for a database that does not answer, as in a fail-over",
            "seconds",
            0.01,
            _WEEK,
        ),
    ] = 20
    data_dir: Annotated[
        str,
        Setting(
            "the folder of embedded database, pictures and signing key; `~` is the home directory",
            default="`$XDG_DATA_HOME/huajuan`, for root `/var/lib/huajuan`",
        ),
    ] = ""
    storage_url: Annotated[
        str,
        Setting(
            "where pictures are stored: a folder, or `s3://…`, `gs://…`, `az://…`. It is written to and "
            "read at start. An S3-compatible store without conditional writes needs "
            "`AWS_CONDITIONAL_PUT=disabled`",
            default="`pictures` in the data folder",
        ),
    ] = ""
    restore_hours: Annotated[
        float,
        Setting(
            "how long a deleted picture can be restored; then its file is removed",
            "hours",
            0,
            _TEN_YEARS_HOURS,
        ),
    ] = 168
    erasure_grace_seconds: Annotated[
        float,
        Setting(
            "how long the clearing of an erased account waits for requests that were under way",
            "seconds",
            0,
            _WEEK,
        ),
    ] = 60

    jwt_secret: Annotated[
        str,
        Setting(
            "the key that signs tokens, used as its UTF-8 bytes: 32 or more. Servers that share a database "
            "share it",
            default="made at the first start, in the data folder",
            topic="Accounts and log-in",
        ),
    ] = ""
    token_hours: Annotated[
        float, Setting("how long a token is valid after log-in", "hours", 0.001, _TEN_YEARS_HOURS)
    ] = 24
    bcrypt_cost: Annotated[
        int, Setting("the cost of a password hash; each step doubles its time", "", 4, 16)
    ] = 12
    registration: Annotated[
        Literal["open", "closed", "approval"],
        Setting("who may register; with `approval` a new account waits until an admin approves it"),
    ] = "open"
    registrations_per_address_hour: Annotated[
        int,
        Setting(
            "new accounts from one address in an hour, IPv6 by /64; 0 is no limit; loopback has none",
            "accounts",
            0,
            _MILLION,
        ),
    ] = 20
    login_account_failures_max: Annotated[
        int, Setting("failed log-ins to one account within the window; then 429", "failures", 1, _MILLION)
    ] = 10
    login_address_failures_max: Annotated[
        int, Setting("failed log-ins from one address within the window; then 429", "failures", 1, _MILLION)
    ] = 50
    login_window_seconds: Annotated[
        float, Setting("the window of both log-in limits", "seconds", 0.01, _DAY)
    ] = 900

    time_zone: Annotated[
        str, Setting("an IANA name: where a day begins, for the check-in and for date ranges", topic="Points")
    ] = "UTC"
    check_in_limit: Annotated[
        Literal["daily", "none"], Setting("`daily` pays one check-in a day, `none` pays every one")
    ] = "daily"
    welcome_points: Annotated[int, Setting("the points of a new account", "points", 0, ADJUSTMENT_MAX)] = 0

    comfyui_urls: Annotated[
        tuple[str, ...],
        Setting(
            "the ComfyUI servers, comma-separated, with credentials where a server needs them. A server that "
            "an admin added or removed through the API is used or not, whatever is named here",
            default="the demo ComfyUI",
            topic="Image generation",
        ),
    ] = ()
    checkpoint: Annotated[
        str,
        Setting("the model that `{checkpoint}` of a workflow takes", default="the first that a server lists"),
    ] = ""
    workflow: Annotated[
        str,
        Setting(
            "a workflow file in API format, or `sha256:…` of one that was used before",
            default="the built-in one",
        ),
    ] = ""
    generate_wait_seconds: Annotated[
        float,
        Setting(
            "how long a client of `/auth/generate` waits; then its job is cancelled", "seconds", 0.01, _DAY
        ),
    ] = 300
    job_seconds_max: Annotated[
        float, Setting("from a picture's request to its end", "seconds", 0.01, _WEEK)
    ] = 3600
    jobs_per_account_max: Annotated[
        int, Setting("unfinished pictures of one account", "jobs", 1, _MILLION)
    ] = 10
    jobs_waiting_max: Annotated[int, Setting("unfinished pictures of all accounts", "jobs", 0, _MILLION)] = (
        1000
    )
    jobs_per_server_max: Annotated[
        int,
        Setting(
            "jobs that one ComfyUI server has at a time. With 2 it is not idle between two pictures; with 1 "
            "no job waits there, where no other can overtake it",
            "jobs",
            1,
            _MILLION,
        ),
    ] = 2
    no_server_timeout_seconds: Annotated[
        float,
        Setting(
            "how long no ComfyUI server may answer before all waiting jobs fail and their points return; set "
            "it to hours where servers are switched off at night",
            "seconds",
            0,
            _WEEK,
        ),
    ] = 30
    comfyui_unreachable_seconds_max: Annotated[
        float,
        Setting(
            "how long a server that has jobs may not answer before it counts as unreachable",
            "seconds",
            0.01,
            _WEEK,
        ),
    ] = 30
    comfyui_seconds_without_progress_max: Annotated[
        float,
        Setting(
            "how long nothing may move in a server's queue; then it gets a cooldown, and its jobs go to "
            "another: keep longer jobs of other programs off it",
            "seconds",
            0.01,
            _WEEK,
        ),
    ] = 600

    cors_origins: Annotated[
        tuple[str, ...],
        Setting(
            "the origins of pages that may use the API, comma-separated; `*` is any origin", topic="HTTP"
        ),
    ] = ("http://localhost:8081",)
    trusted_proxies: Annotated[
        tuple[str, ...],
        Setting(
            "addresses and networks of reverse proxies whose `Forwarded` and `X-Forwarded-For` are used, "
            "comma-separated; `127.0.0.1,::1` for one on this host. See [proxies](proxies.md)"
        ),
    ] = ()
    body_bytes_max: Annotated[
        int, Setting("the size of a request's body, avatar uploads apart: 413", "bytes", _KIB, _GIB)
    ] = _MIB
    http_connections_max: Annotated[
        int,
        Setting(
            "HTTP connections of a worker; at the limit the longest idle one is closed. 0 derives it from "
            "`ulimit -n`, whose soft limit is raised to the hard one at start",
            "connections",
            0,
            60_000,
        ),
    ] = 0
    http_keep_alive_seconds: Annotated[
        float,
        Setting(
            "how long an idle connection stays open; a proxy in front should keep its own for less",
            "seconds",
            0,
            _DAY,
        ),
    ] = 75
    http_header_bytes_max: Annotated[
        int,
        Setting("the headers of a request, and its chunk extensions and trailers: 431", "bytes", _KIB, _MIB),
    ] = 32_768
    list_rows_max: Annotated[int, Setting("the rows of one page of a list", "rows", 1, 100_000)] = 1000
    read_own_writes_seconds_max: Annotated[
        float,
        Setting("how long the reply to a write waits until the read tables show it", "seconds", 0, _DAY),
    ] = 5
    streams_open_max: Annotated[int, Setting("open event streams of a worker", "streams", 1, _MILLION)] = 200
    streams_account_open_max: Annotated[
        int, Setting("open event streams of one account in a worker", "streams", 1, _MILLION)
    ] = 10
    response_cache_bytes_max: Annotated[
        int,
        Setting(
            "the response cache of a worker, for replies that are certainly current; 0 caches none",
            "bytes",
            0,
            64 * _GIB,
        ),
    ] = 32 * _MIB
    idempotency_kept_hours: Annotated[
        float,
        Setting(
            "how long the reply to a request with an `Idempotency-Key` is kept for repeated requests",
            "hours",
            0.001,
            _TEN_YEARS_HOURS,
        ),
    ] = 24

    lag_seconds_max: Annotated[
        float,
        Setting(
            "how far a read table may be behind the log before `/readyz` is 503",
            "seconds",
            0.01,
            _WEEK,
            topic="Readiness",
        ),
    ] = 30
    readyz_optional_tables: Annotated[
        tuple[str, ...], Setting("read tables that may stop without `/readyz` being 503, comma-separated")
    ] = ("daily_statistics",)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def data_folder(self) -> Path:
        """Raises `SettingsError` if the path begins with `~` and there is no home directory."""
        return _path("DATA_DIR", self.data_dir or _default_data_dir())

    @property
    def storage_place(self) -> str:
        """The picture store as a URL or an absolute path. Raises `SettingsError` as `data_folder` does."""
        if "://" in self.storage_url:
            return self.storage_url
        return str(
            _path("STORAGE_URL", self.storage_url) if self.storage_url else self.data_folder / "pictures"
        )

    @property
    def storage_shown(self) -> str:
        """The picture store without user information, for messages."""
        return address_without_secrets(self.storage_place)

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The allowed CORS origins as browsers send them. Raises `ValueError`."""
        return tuple(map(normalized_origin, self.cors_origins))

    @property
    def public_address(self) -> str:
        return (self.public_url or f"http://localhost:{self.port}").rstrip("/")

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """The present base of picture URLs, then the former ones."""
        return (self.public_address, *self.public_url_aliases)


def declared() -> dict[str, tuple[type, Setting]]:
    """The type and the declaration of each field, in order."""
    hints = get_type_hints(Settings, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints.items()}


def _path(name: str, text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise SettingsError(
            f"{PREFIX}{name}: {text} cannot be found, for this account has no home directory: "
            "set it to an absolute path"
        ) from None


def _default_data_dir() -> str:
    if os.geteuid() == 0:
        return "/var/lib/huajuan"
    return str(Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "huajuan")
