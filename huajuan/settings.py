"""Every setting, read once from HUAJUAN_… variables: each has a name, a unit and a default."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from huajuan.audit.limits import AuditLimits
from huajuan.dispatch.limits import DispatchLimits
from huajuan.event_store.limits import LogLimits
from huajuan.http.limits import HTTP_RANGES, HttpLimits, StreamLimits
from huajuan.http.links import ascii_address
from huajuan.inference_client import Limits as PainterLimits
from huajuan.origins import normalized_origin
from huajuan.projections.limits import ProjectionLimits
from huajuan.projections.registry import PROJECTIONS
from huajuan.rebuilding.limits import RebuildLimits
from huajuan.sessions.attempts import AttemptLimits
from huajuan.sessions.idempotency import IdempotencyLimits

PREFIX = "HUAJUAN_"
TOKEN_HOURS_MAX = 10 * 365 * 24
GENERATE_WAIT_SECONDS_MAX = 24 * 3600
LOOK_SECONDS_MIN = 0.05
_CPUS = os.cpu_count() or 1
_TABLES = {projection.name for projection in PROJECTIONS}


class SettingsError(Exception):
    """A variable has a value that it cannot have; the message names both."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Field `x` is set by HUAJUAN_X; a limit `y` of group `g` by HUAJUAN_G_Y."""

    database_url: str = ""
    data_dir: str = ""
    storage_url: str = ""
    comfyui_urls: tuple[str, ...] = ()
    checkpoint: str = ""
    workflow: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    workers: int = 1
    jwt_secret: str = ""
    token_hours: float = 24
    time_zone: str = "UTC"
    check_in_limit: Literal["daily", "none"] = "daily"
    welcome_points: int = 0
    cors_origins: tuple[str, ...] = ("http://localhost:8081",)
    generate_wait_seconds: float = 300
    bcrypt_cost: int = 12
    bcrypt_threads_max: int = max(1, _CPUS - 1)
    bcrypt_waiting_max: int = 100
    portrait_threads_max: int = 1
    portrait_waiting_max: int = 20
    connections_max: int = 8
    body_bytes_max: int = 1 << 20
    list_rows_max: int = 1_000
    statement_seconds_max: float = 5
    square_images_max: int = 100
    feature_words_max: int = 10
    eta_pictures_max: int = 50
    images_at_once_max: int = 100
    restore_hours: float = 24 * 7
    sweep_every_seconds: float = 60
    sweep_batch_max: int = 100
    tidy_every_seconds: float = 300
    erase_every_seconds: float = 60
    erase_settle_seconds: float = 60
    erase_batch_max: int = 100
    read_own_writes_seconds_max: float = 5
    stop_seconds_max: float = 10
    tokens_cached_max: int = 10_000
    replies_kept_bytes_max: int = 32 << 20
    tenancy_seconds: float = 3
    lag_seconds_max: float = 30
    readyz_optional_tables: tuple[str, ...] = ("daily_statistics",)
    audit_points_every_seconds: float = 60

    log: LogLimits = LogLimits()
    projection: ProjectionLimits = ProjectionLimits()
    dispatch: DispatchLimits = DispatchLimits()
    painter: PainterLimits = PainterLimits()
    login: AttemptLimits = AttemptLimits()
    idempotency: IdempotencyLimits = IdempotencyLimits()
    rebuild: RebuildLimits = RebuildLimits()
    audit: AuditLimits = AuditLimits()
    streams: StreamLimits = StreamLimits()
    http: HttpLimits = HttpLimits()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def data_folder(self) -> Path:
        return _path("DATA_DIR", self.data_dir or _default_data_dir())

    @property
    def storage_place(self) -> str:
        if "://" in self.storage_url:
            return self.storage_url
        return str(
            _path("STORAGE_URL", self.storage_url) if self.storage_url else self.data_folder / "pictures"
        )

    @property
    def painter_limits(self) -> PainterLimits:
        """The painter's client waits no longer for anything than a job may take."""
        seconds = self.dispatch.job_seconds_max
        return msgspec.structs.replace(
            self.painter,
            job_seconds_max=seconds,
            unreachable_seconds_max=min(seconds, self.painter.unreachable_seconds_max),
            seconds_without_progress_max=min(seconds, self.painter.seconds_without_progress_max),
        )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins whose pages may use the API, as browsers send them. Raises `ValueError`."""
        return tuple(map(normalized_origin, self.cors_origins))

    @property
    def public_address(self) -> str:
        return (self.public_url or f"http://localhost:{self.port}").rstrip("/")


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Raises `SettingsError` for a value that cannot be."""
    settings: Settings = _read(Settings, PREFIX, environment)
    _check(settings)
    _check_ranges(settings)
    return settings


def _read(kind: type[Any], prefix: str, environment: Mapping[str, str]) -> Any:
    hints = get_type_hints(kind)
    groups = {n: _read(h, f"{prefix}{n.upper()}_", environment) for n, h in hints.items() if _is_group(h)}
    names = {n: f"{prefix}{n.upper()}" for n in hints if n not in groups}
    given = {
        n: _value(name, hints[n], environment[name]) for n, name in names.items() if environment.get(name)
    }
    return kind(**groups, **given)


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _value(name: str, hint: Any, text: str) -> Any:
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        value = msgspec.convert(words if get_origin(hint) is tuple else text, hint, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{name} is {text!r}: {error}") from None
    if isinstance(value, int | float) and not 0 <= value < math.inf:
        raise SettingsError(f"{name} is {text!r}: it must be a number that is not negative")
    return value


def _check(settings: Settings) -> None:
    rules = {
        "PORT": 0 < settings.port < 65536,
        "WORKERS": 1 <= settings.workers <= 256,
        "WELCOME_POINTS": settings.welcome_points >= 0,
        "BCRYPT_COST": 4 <= settings.bcrypt_cost <= 16,
        "BCRYPT_THREADS_MAX": settings.bcrypt_threads_max >= 1,
        "CONNECTIONS_MAX": settings.connections_max >= 2,
        "TOKEN_HOURS": 0 < settings.token_hours <= TOKEN_HOURS_MAX,
        "GENERATE_WAIT_SECONDS": 0 < settings.generate_wait_seconds <= GENERATE_WAIT_SECONDS_MAX,
        "RESTORE_HOURS": 0 <= settings.restore_hours <= TOKEN_HOURS_MAX,
        "AUDIT_POINTS_EVERY_SECONDS": settings.audit_points_every_seconds >= 1,
        "ERASE_BATCH_MAX": settings.erase_batch_max >= 1,
        "LIST_ROWS_MAX": settings.list_rows_max >= 1,
        "SQUARE_IMAGES_MAX": settings.square_images_max >= 1,
        "LOG_QUEUE_SAVES_MAX": settings.log.queue_saves_max >= 1,
        "LOG_BATCH_SAVES_MAX": settings.log.batch_saves_max >= 1,
        "LOG_PAGE_EVENTS_MAX": settings.log.page_events_max >= 1,
        "LOG_SNAPSHOT_EVERY_EVENTS": settings.log.snapshot_every_events >= 1,
        "LOG_SNAPSHOT_AFTER_EVENTS_READ": settings.log.snapshot_after_events_read >= 1,
        "PROJECTION_BATCH_EVENTS_MAX": settings.projection.batch_events_max >= 1,
        "REBUILD_INDEXES_AT_ONCE_MAX": settings.rebuild.indexes_at_once_max >= 1,
        "AUDIT_THREADS_MAX": settings.audit.threads_max >= 1,
        "REBUILD_PAGE_EVENTS_MAX": settings.rebuild.page_events_max >= 1,
        "DISPATCH_JOBS_OF_ACCOUNT_MAX": settings.dispatch.jobs_of_account_max >= 1,
        "DISPATCH_JOBS_OF_HOST_MAX": settings.dispatch.jobs_of_host_max >= 1,
        "DISPATCH_ATTEMPTS_MAX": settings.dispatch.attempts_max >= 1,
        "IDEMPOTENCY_WAITING_MAX": settings.idempotency.waiting_max >= 1,
        "IDEMPOTENCY_SWEEP_BATCH_MAX": settings.idempotency.sweep_batch_max >= 1,
        "IDEMPOTENCY_LEASE_SECONDS": settings.idempotency.lease_seconds
        > settings.idempotency.heartbeat_seconds,
        "STREAMS_LOOK_SECONDS": settings.streams.look_seconds >= LOOK_SECONDS_MIN,
        "JWT_SECRET": not settings.jwt_secret or len(settings.jwt_secret.encode()) >= 32,
        "TIME_ZONE": _is_zone(settings.time_zone),
        "READYZ_OPTIONAL_TABLES": set(settings.readyz_optional_tables) <= _TABLES,
        "CORS_ORIGINS": _are_origins(settings),
        "PUBLIC_URL": not settings.public_url or _is_address(settings.public_url),
        "COMFYUI_URLS": all(u.startswith(("http://", "https://")) for u in settings.comfyui_urls),
    }
    for name, holds in rules.items():
        if not holds:
            raise SettingsError(f"{PREFIX}{name} {_NEEDS.get(name, 'must be at least 1')}")


def _check_ranges(settings: Settings) -> None:
    for name, (least, most) in HTTP_RANGES.items():
        if not least <= getattr(settings.http, name) <= most:
            raise SettingsError(f"{PREFIX}HTTP_{name.upper()} must be {least} to {most}")


_NEEDS = {
    "PORT": "must be a port, 1 to 65535",
    "WORKERS": "must be 1 to 256",
    "WELCOME_POINTS": "must not be negative",
    "BCRYPT_COST": "must be 4 to 16",
    "CONNECTIONS_MAX": "must be at least 2",
    "TOKEN_HOURS": "must be more than 0 and at most ten years",
    "GENERATE_WAIT_SECONDS": "must be more than 0 and at most a day",
    "STREAMS_LOOK_SECONDS": f"must be at least {LOOK_SECONDS_MIN}",
    "RESTORE_HOURS": "must be 0 to ten years",
    "IDEMPOTENCY_LEASE_SECONDS": "must be more than HUAJUAN_IDEMPOTENCY_HEARTBEAT_SECONDS",
    "JWT_SECRET": "must be at least 32 bytes long",
    "TIME_ZONE": "must be an IANA name such as UTC or Asia/Shanghai",
    "READYZ_OPTIONAL_TABLES": f"must be names of read tables, separated by commas: {', '.join(sorted(_TABLES))}",
    "CORS_ORIGINS": "must be origins such as https://example.org:8443, without a path, separated by commas; or *",
    "PUBLIC_URL": "must begin with http:// or https:// and a host, without ? and #",
    "COMFYUI_URLS": "must be addresses that begin with http:// or https://, separated by commas",
}


def _are_origins(settings: Settings) -> bool:
    try:
        return bool(settings.allowed_origins) or not settings.cors_origins
    except ValueError:
        return False


def _is_address(url: str) -> bool:
    try:
        ascii_address(url)
    except ValueError:
        return False
    return url.startswith(("http://", "https://")) and not set("?#") & set(url)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _path(name: str, text: str) -> Path:
    """An absolute path, `~` replaced by the home directory. Raises `SettingsError` where there is none."""
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
