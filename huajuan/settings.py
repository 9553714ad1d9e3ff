"""Every setting, read once from HUAJUAN_… variables: each has a name, a unit and a default."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from huajuan.audit.limits import AuditLimits
from huajuan.auth.login_attempts import AttemptLimits
from huajuan.domain.server_address import is_server_address
from huajuan.event_store.limits import LogLimits
from huajuan.http.limits import HttpLimits, StreamLimits
from huajuan.http.links import ascii_address
from huajuan.http.own_addresses import is_base
from huajuan.idempotency.service import IdempotencyLimits
from huajuan.inference_client import Limits as PainterLimits
from huajuan.jobs.limits import DispatchLimits
from huajuan.net.client_address import is_network
from huajuan.net.origins import normalized_origin
from huajuan.observability.redaction import address_without_secrets
from huajuan.projections.engine.limits import ProjectionLimits
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.registry import PROJECTIONS
from huajuan.setting_ranges import range_of

PREFIX = "HUAJUAN_"
SHOWN_CHARACTERS_MAX = 100
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
    public_url_aliases: tuple[str, ...] = ()
    workers: int = 1
    jwt_secret: str = ""
    token_hours: float = 24
    time_zone: str = "UTC"
    check_in_limit: Literal["daily", "none"] = "daily"
    welcome_points: int = 0
    cors_origins: tuple[str, ...] = ("http://localhost:8081",)
    trusted_proxies: tuple[str, ...] = ()
    registration: Literal["open", "closed", "approval"] = "open"
    registrations_per_address_hour: int = 20
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
    def storage_shown(self) -> str:
        """The picture store without user information, for messages."""
        return address_without_secrets(self.storage_place)

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

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """What addresses of pictures begin with: now, and before."""
        return (self.public_address, *self.public_url_aliases)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Raises `SettingsError` for a value that cannot be."""
    settings: Settings = _read(Settings, PREFIX, environment)
    _check(settings)
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
    if hint in (int, float):
        return _number(name, hint, text)
    if get_origin(hint) is Literal and text not in get_args(hint):
        shown = text[:SHOWN_CHARACTERS_MAX]
        raise SettingsError(f"{name} is {shown!r}: it must be one of {', '.join(get_args(hint))}")
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        value = msgspec.convert(words if get_origin(hint) is tuple else text, hint, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{name} is {text!r}: {error}") from None
    return value


def _number(name: str, kind: type[Any], text: str) -> Any:
    """Read as JSON has numbers: digits 0 to 9 alone, no underlines, no spaces."""
    allowed = range_of(name.removeprefix(PREFIX))
    number: Any = None
    with suppress(msgspec.ValidationError):
        number = msgspec.convert(text, kind, strict=False)
    if number not in allowed:
        a_number = "a whole number" if kind is int else "a number"
        raise SettingsError(
            f"{name} is {text[:SHOWN_CHARACTERS_MAX]!r}: it must be {a_number} from {allowed}"
        )
    return number


def _check(settings: Settings) -> None:
    """What is no matter of one number's range."""
    rules = {
        "IDEMPOTENCY_LEASE_SECONDS": settings.idempotency.lease_seconds
        > settings.idempotency.heartbeat_seconds,
        "DISPATCH_LEASE_SECONDS": settings.dispatch.lease_seconds > settings.dispatch.heartbeat_seconds,
        "JWT_SECRET": not settings.jwt_secret or len(settings.jwt_secret.encode()) >= 32,
        "TIME_ZONE": _is_zone(settings.time_zone),
        "READYZ_OPTIONAL_TABLES": set(settings.readyz_optional_tables) <= _TABLES,
        "CORS_ORIGINS": _are_origins(settings),
        "TRUSTED_PROXIES": all(is_network(text) for text in settings.trusted_proxies),
        **_public_address_rules(settings),
        "COMFYUI_URLS": all(map(is_server_address, settings.comfyui_urls)),
    }
    for name, holds in rules.items():
        if not holds:
            raise SettingsError(f"{PREFIX}{name} {_NEEDS[name]}")


def _public_address_rules(settings: Settings) -> dict[str, bool]:
    return {
        "PUBLIC_URL": not settings.public_url or _is_address(settings.public_url),
        "PUBLIC_URL_ALIASES": all(map(_is_address, settings.public_url_aliases)),
    }


_BASE = "begin with http:// or https:// and name a host, without user, query or fragment"
_NEEDS = {
    "IDEMPOTENCY_LEASE_SECONDS": "must be more than HUAJUAN_IDEMPOTENCY_HEARTBEAT_SECONDS",
    "DISPATCH_LEASE_SECONDS": "must be more than HUAJUAN_DISPATCH_HEARTBEAT_SECONDS",
    "JWT_SECRET": "must be at least 32 bytes long",
    "TIME_ZONE": "must be an IANA name such as UTC or Asia/Shanghai",
    "READYZ_OPTIONAL_TABLES": f"must be names of read tables, separated by commas: {', '.join(sorted(_TABLES))}",
    "CORS_ORIGINS": "must be origins such as https://example.org:8443, without a path, separated by commas; or *",
    "TRUSTED_PROXIES": "must be addresses or networks such as 127.0.0.1, ::1 or 10.0.0.0/8, separated by commas",
    "PUBLIC_URL": f"must {_BASE}",
    "PUBLIC_URL_ALIASES": f"must hold addresses, separated by commas, that each {_BASE}",
    "COMFYUI_URLS": "must be addresses such as http://gpu:8188, separated by commas; "
    "write / ? # @ : , % of a password as %2F %3F %23 %40 %3A %2C %25",
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
    return is_base(url)


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
