"""All limits of a server: constants of each package, some of them set by operator settings."""

import os
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec

from huajuan.audit.connection import AuditLimits
from huajuan.auth.rate_limits import LoginAttemptLimits
from huajuan.event_store.writer import EventStoreLimits
from huajuan.http.sse_hub import StreamLimits
from huajuan.idempotency.service import IdempotencyLimits
from huajuan.inference_client import ClientLimits
from huajuan.jobs.queue import DispatchLimits
from huajuan.projections.engine.projection import ProjectionLimits
from huajuan.projections.rebuild.session import RebuildLimits
from huajuan.server.connections import HttpLimits
from huajuan.settings import INTERNAL_PREFIX, Settings, SettingsError

# Read by the tests' services: a JSON object such as {"jobs": {"lease_seconds": 2}}. No operator sets it.
TEST_LIMITS = f"{INTERNAL_PREFIX}TEST_LIMITS"


class WorkerLimits(msgspec.Struct, frozen=True):
    """Intervals and batch sizes of a worker's background tasks, and sizes of its pools and caches."""

    sweep_every_seconds: float = 60
    sweep_batch_max: int = 100
    erase_every_seconds: float = 60
    erase_batch_max: int = 100
    cleanup_every_seconds: float = 300
    audit_points_every_seconds: float = 60
    cache_lease_seconds: float = 3
    tokens_cached_max: int = 10_000
    password_threads_max: int = max(1, (os.cpu_count() or 1) - 1)
    passwords_waiting_max: int = 100
    avatar_threads_max: int = 1
    avatars_waiting_max: int = 20


class ServiceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """One field a package."""

    event_store: EventStoreLimits = EventStoreLimits()
    projections: ProjectionLimits = ProjectionLimits()
    rebuild: RebuildLimits = RebuildLimits()
    jobs: DispatchLimits = DispatchLimits()
    inference_client: ClientLimits = ClientLimits()
    login: LoginAttemptLimits = LoginAttemptLimits()
    idempotency: IdempotencyLimits = IdempotencyLimits()
    audit: AuditLimits = AuditLimits()
    streams: StreamLimits = StreamLimits()
    http: HttpLimits = HttpLimits()
    worker: WorkerLimits = WorkerLimits()


def limits_of(
    settings: Settings, environment: Mapping[str, str] | None = None, **changes: msgspec.Struct
) -> ServiceLimits:
    """The limits by the settings, `changes` by field of `ServiceLimits`, and the test-only variable.

    Raises `SettingsError` for a test-only variable that names what is no limit.
    """
    limits = msgspec.structs.replace(_set_by_operator(settings), **changes)
    text = (os.environ if environment is None else environment).get(TEST_LIMITS)
    return _bounded_by_job(_with_test_limits(limits, text) if text else limits)


def _set_by_operator(settings: Settings) -> ServiceLimits:
    return ServiceLimits(
        event_store=EventStoreLimits(reconnect_seconds_max=settings.log_reconnect_seconds_max),
        jobs=DispatchLimits(
            job_seconds_max=settings.job_seconds_max,
            jobs_per_account_max=settings.jobs_per_account_max,
            jobs_waiting_max=settings.jobs_waiting_max,
            jobs_per_server_max=settings.jobs_per_server_max,
            no_server_timeout_seconds=settings.no_server_timeout_seconds,
        ),
        inference_client=ClientLimits(
            unreachable_seconds_max=settings.comfyui_unreachable_seconds_max,
            seconds_without_progress_max=settings.comfyui_seconds_without_progress_max,
        ),
        login=LoginAttemptLimits(
            account_failures_max=settings.login_account_failures_max,
            address_failures_max=settings.login_address_failures_max,
            window_seconds=settings.login_window_seconds,
        ),
        idempotency=IdempotencyLimits(kept_hours=settings.idempotency_kept_hours),
        streams=StreamLimits(
            open_max=settings.streams_open_max, account_open_max=settings.streams_account_open_max
        ),
        http=HttpLimits(
            header_bytes_max=settings.http_header_bytes_max,
            keep_alive_seconds=settings.http_keep_alive_seconds,
            connections_max=settings.http_connections_max,
        ),
    )


def _bounded_by_job(limits: ServiceLimits) -> ServiceLimits:
    """The client of an inference server waits no longer for anything than a job may take."""
    client, seconds = limits.inference_client, limits.jobs.job_seconds_max
    bounded = msgspec.structs.replace(
        client,
        job_seconds_max=seconds,
        unreachable_seconds_max=min(seconds, client.unreachable_seconds_max),
        seconds_without_progress_max=min(seconds, client.seconds_without_progress_max),
    )
    return msgspec.structs.replace(limits, inference_client=bounded)


def _with_test_limits(limits: ServiceLimits, text: str) -> ServiceLimits:
    try:
        given = msgspec.json.decode(text, type=dict[str, dict[str, float]])
        changed = {name: _changed(getattr(limits, name), values) for name, values in given.items()}
    except (msgspec.MsgspecError, AttributeError, KeyError) as error:
        raise SettingsError(f"{TEST_LIMITS}: {error}") from None
    limits = msgspec.structs.replace(limits, **changed)
    for name in ("jobs", "idempotency"):
        group = getattr(limits, name)
        if group.lease_seconds <= group.heartbeat_seconds:
            raise SettingsError(f"{TEST_LIMITS}: {name}.lease_seconds must be more than heartbeat_seconds")
    return limits


def _changed(group: msgspec.Struct, values: dict[str, float]) -> Any:
    """Raises `KeyError` for a name that is no field, and `ValidationError` for a value of another type."""
    kinds = get_type_hints(type(group))
    typed = {name: msgspec.convert(value, kinds[name], strict=False) for name, value in values.items()}
    return msgspec.structs.replace(group, **typed)
