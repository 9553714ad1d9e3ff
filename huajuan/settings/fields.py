"""The operator settings: each is one field with its default, its unit, its bounds and its documentation."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_type_hints
from zoneinfo import ZoneInfo

from huajuan.domain.rules import ADJUSTMENT_MAX
from huajuan.net.urls import normalized_origin
from huajuan.runtime.errors import OperatorError
from huajuan.runtime.redaction import address_without_secrets

T = TypeVar("T")
PREFIX = "HUAJUAN_"
# The prefix of variables by which processes of this program hand values to each other.
INTERNAL_PREFIX = "_HUAJUAN_"
_DAY, _WEEK = 24 * 3600, 7 * 24 * 3600
_TEN_YEARS_HOURS = 10 * 365 * 24
_MILLION = 1_000_000
_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30


class SettingsError(OperatorError):
    """A variable has an invalid value or an old name; the message names the variable."""


class Range(NamedTuple):
    """The unit and the bounds of a number, both included."""

    unit: str
    minimum: float
    maximum: float

    def __str__(self) -> str:
        return f"{self.minimum:,} to {self.maximum:,}"

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int | float) and self.minimum <= number <= self.maximum


_NO_NUMBER = Range("", 0, 0)


class Setting(NamedTuple):
    """`topic` begins a new section of docs/settings.md; `computed` describes a default that is computed."""

    text: str
    range: Range
    computed: str
    topic: str


def setting(default: T, text: str, range_: Range = _NO_NUMBER, *, computed: str = "", topic: str = "") -> T:
    """A field of `Settings` with its documentation."""
    return field(default=default, metadata={"setting": Setting(text, range_, computed, topic)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Field `x` is set by the environment variable HUAJUAN_X."""

    host: str = setting("127.0.0.1", "the address to listen on", topic="Address and processes")
    port: int = setting(8080, "the TCP port to listen on", Range("", 1, 65535))
    public_url: str = setting(
        "",
        "the base of picture URLs, `Link` and `Location`; a path in it, which a proxy removes, is kept",
        computed="`http://localhost:<port>`",
    )
    public_url_aliases: tuple[str, ...] = setting(
        (),
        "former values of `HUAJUAN_PUBLIC_URL`, comma-separated: picture URLs with them are still "
        "recognised, and stored avatar URLs with them are shown with the present one",
    )
    workers: int = setting(1, "processes that serve requests; one a core", Range("processes", 1, 256))
    stop_seconds_max: float = setting(
        10, "how long open requests may take after a stop signal", Range("seconds", 0, _DAY)
    )

    database_url: str = setting(
        "",
        "a Postgres 14 or newer, as `postgresql://…` or `host=… dbname=…`",
        computed="the embedded Postgres",
        topic="Database and files",
    )
    connections_max: int = setting(8, "the size of a worker's database pool", Range("connections", 2, 1000))
    statement_seconds_max: float = setting(
        5, "the statement time-out of the pool's connections", Range("seconds", 0.01, _WEEK)
    )
    log_reconnect_seconds_max: float = setting(
        20,
        "how long reads and writes wait for a database that does not answer, as in a fail-over",
        Range("seconds", 0.01, _WEEK),
    )
    data_dir: str = setting(
        "",
        "the folder of embedded database, pictures and signing key; `~` is the home directory",
        computed="`$XDG_DATA_HOME/huajuan`, for root `/var/lib/huajuan`",
    )
    storage_url: str = setting(
        "",
        "where pictures are stored: a folder, or `s3://…`, `gs://…`, `az://…`. It is written to and read at "
        "start. An S3-compatible store without conditional writes needs `AWS_CONDITIONAL_PUT=disabled`",
        computed="`pictures` in the data folder",
    )
    restore_hours: float = setting(
        168,
        "how long a deleted picture can be restored; then its file is removed",
        Range("hours", 0, _TEN_YEARS_HOURS),
    )
    erasure_grace_seconds: float = setting(
        60,
        "how long the clearing of an erased account waits for requests that were under way",
        Range("seconds", 0, _WEEK),
    )

    jwt_secret: str = setting(
        "",
        "the key that signs tokens, used as its UTF-8 bytes: 32 or more. Servers that share a database "
        "share it",
        computed="made at the first start, in the data folder",
        topic="Accounts and log-in",
    )
    token_hours: float = setting(
        24, "how long a token is valid after log-in", Range("hours", 0.001, _TEN_YEARS_HOURS)
    )
    bcrypt_cost: int = setting(
        12, "the cost of a password hash; each step doubles its time", Range("", 4, 16)
    )
    registration: Literal["open", "closed", "approval"] = setting(
        "open", "who may register; with `approval` a new account waits until an admin approves it"
    )
    registrations_per_address_hour: int = setting(
        20,
        "new accounts from one address in an hour, IPv6 by /64; 0 is no limit; loopback has none",
        Range("accounts", 0, _MILLION),
    )
    login_account_failures_max: int = setting(
        10, "failed log-ins to one account within the window; then 429", Range("failures", 1, _MILLION)
    )
    login_address_failures_max: int = setting(
        50, "failed log-ins from one address within the window; then 429", Range("failures", 1, _MILLION)
    )
    login_window_seconds: float = setting(
        900, "the window of both log-in limits", Range("seconds", 0.01, _DAY)
    )

    time_zone: str = setting(
        "UTC", "an IANA name: where a day begins, for the check-in and for date ranges", topic="Points"
    )
    check_in_limit: Literal["daily", "none"] = setting(
        "daily", "`daily` pays one check-in a day, `none` pays every one"
    )
    welcome_points: int = setting(0, "the points of a new account", Range("points", 0, ADJUSTMENT_MAX))

    comfyui_urls: tuple[str, ...] = setting(
        (),
        "the ComfyUI servers, comma-separated, with credentials where a server needs them. A server that an "
        "admin added or removed through the API is used or not, whatever is named here",
        computed="the demo ComfyUI",
        topic="Image generation",
    )
    checkpoint: str = setting(
        "", "the model that `{checkpoint}` of a workflow takes", computed="the first that a server lists"
    )
    workflow: str = setting(
        "",
        "a workflow file in API format, or `sha256:…` of one that was used before",
        computed="the built-in one",
    )
    generate_wait_seconds: float = setting(
        300,
        "how long a client of `/auth/generate` waits; then its job is cancelled",
        Range("seconds", 0.01, _DAY),
    )
    job_seconds_max: float = setting(
        3600, "from a picture's request to its end", Range("seconds", 0.01, _WEEK)
    )
    jobs_per_account_max: int = setting(10, "unfinished pictures of one account", Range("jobs", 1, _MILLION))
    jobs_waiting_max: int = setting(1000, "unfinished pictures of all accounts", Range("jobs", 0, _MILLION))
    jobs_per_server_max: int = setting(
        2,
        "jobs that one ComfyUI server has at a time. With 2 it is not idle between two pictures; with 1 no "
        "job waits there, where no other can overtake it",
        Range("jobs", 1, _MILLION),
    )
    no_server_timeout_seconds: float = setting(
        30,
        "how long no ComfyUI server may answer before all waiting jobs fail and their points return; set it "
        "to hours where servers are switched off at night",
        Range("seconds", 0, _WEEK),
    )
    comfyui_unreachable_seconds_max: float = setting(
        30,
        "how long a server that has jobs may not answer before it counts as unreachable",
        Range("seconds", 0.01, _WEEK),
    )
    comfyui_seconds_without_progress_max: float = setting(
        600,
        "how long nothing may move in a server's queue; then it gets a cooldown, and its jobs go to "
        "another: keep longer jobs of other programs off it",
        Range("seconds", 0.01, _WEEK),
    )

    cors_origins: tuple[str, ...] = setting(
        ("http://localhost:8081",),
        "the origins of pages that may use the API, comma-separated; `*` is any origin",
        topic="HTTP",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "addresses and networks of reverse proxies whose `Forwarded` and `X-Forwarded-For` are used, "
        "comma-separated; `127.0.0.1,::1` for one on this host. See [proxies](proxies.md)",
    )
    body_bytes_max: int = setting(
        _MIB, "the size of a request's body, avatar uploads apart: 413", Range("bytes", _KIB, _GIB)
    )
    http_connections_max: int = setting(
        0,
        "HTTP connections of a worker; at the limit the longest idle one is closed. 0 derives it from "
        "`ulimit -n`, whose soft limit is raised to the hard one at start",
        Range("connections", 0, 60_000),
    )
    http_keep_alive_seconds: float = setting(
        75,
        "how long an idle connection stays open; a proxy in front should keep its own for less",
        Range("seconds", 0, _DAY),
    )
    http_header_bytes_max: int = setting(
        32_768,
        "the headers of a request, and its chunk extensions and trailers: 431",
        Range("bytes", _KIB, _MIB),
    )
    list_rows_max: int = setting(1000, "the rows of one page of a list", Range("rows", 1, 100_000))
    read_own_writes_seconds_max: float = setting(
        5, "how long the reply to a write waits until the read tables show it", Range("seconds", 0, _DAY)
    )
    streams_open_max: int = setting(200, "open event streams of a worker", Range("streams", 1, _MILLION))
    streams_account_open_max: int = setting(
        10, "open event streams of one account in a worker", Range("streams", 1, _MILLION)
    )
    response_cache_bytes_max: int = setting(
        32 * _MIB,
        "the response cache of a worker, for replies that are certainly current; 0 caches none",
        Range("bytes", 0, 64 * _GIB),
    )
    idempotency_kept_hours: float = setting(
        24,
        "how long the reply to a request with an `Idempotency-Key` is kept for repeated requests",
        Range("hours", 0.001, _TEN_YEARS_HOURS),
    )

    lag_seconds_max: float = setting(
        30,
        "how far a read table may be behind the log before `/readyz` is 503",
        Range("seconds", 0.01, _WEEK),
        topic="Readiness",
    )
    readyz_optional_tables: tuple[str, ...] = setting(
        ("daily_statistics",), "read tables that may stop without `/readyz` being 503, comma-separated"
    )

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
    types = get_type_hints(Settings)
    return {one.name: (types[one.name], one.metadata["setting"]) for one in fields(Settings)}


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
