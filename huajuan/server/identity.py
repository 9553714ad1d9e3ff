"""What one server says of itself to the others: hashes of its secret and of the settings that all must share."""

import hashlib
import os
import socket
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import msgspec

from huajuan.domain.points import CHECK_IN_REWARD, PICTURE_COST
from huajuan.event_store.stream_ids import StreamIds
from huajuan.server.server_leases import ServerIdentity
from huajuan.settings import PREFIX, Settings

# The variable by which workers learn the identity of their server.
IDENTITY = f"{PREFIX}SERVER_IDENTITY"
# A person may be answered by any server, so these decide the same everywhere.
SHARED = frozenset(
    {
        "check_in_limit",
        "erase_settle_seconds",
        "generate_wait_seconds",
        "images_at_once_max",
        "list_rows_max",
        "public_url_aliases",
        "registration",
        "registrations_per_address_hour",
        "restore_hours",
        "time_zone",
        "token_hours",
        "welcome_points",
    }
)
SHARED_OF_GROUPS = {
    "dispatch": (
        "attempts_max",
        "job_seconds_max",
        "jobs_of_account_max",
        "jobs_of_host_max",
        "jobs_waiting_max",
    ),
    "idempotency": ("kept_hours",),
    "login": ("account_failures_max", "address_failures_max", "window_seconds"),
}
# A secret may be a weak one, so that each guess costs about 50 ms and 16 MiB.
_SCRYPT: dict[str, int] = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}


def given_identity(environment: Mapping[str, str]) -> ServerIdentity | None:
    """That of the server whose worker this is."""
    given = environment.get(IDENTITY)
    return msgspec.json.decode(given, type=ServerIdentity) if given else None


def server_identity(settings: Settings, ids: StreamIds, picture_store: UUID | None = None) -> ServerIdentity:
    """The hashes are under the installation's key, so that those of two installations cannot be compared."""
    values = _shared(settings) | {f"{PREFIX}STORAGE_URL": str(picture_store or settings.storage_place)}
    return ServerIdentity(
        id=uuid4(),
        name=f"{socket.gethostname()}:{os.getpid()}",
        secret=_slow_hash(settings.jwt_secret.encode(), ids.blind("salt", "secret")),
        settings={name: _keyed_hash(ids, name, value) for name, value in values.items()},
    )


def _shared(settings: Settings) -> dict[str, Any]:
    """By the names that an operator knows."""
    fields = msgspec.structs.asdict(settings)
    alone = {f"{PREFIX}{name.upper()}": fields[name] for name in SHARED & fields.keys()}
    grouped = {
        f"{PREFIX}{group.upper()}_{name.upper()}": getattr(fields[group], name)
        for group, names in SHARED_OF_GROUPS.items()
        for name in names
    }
    return {
        **alone,
        **grouped,
        f"{PREFIX}PUBLIC_URL": settings.public_address,
        "the price of a picture": PICTURE_COST,
        "the points of a check-in": CHECK_IN_REWARD,
    }


def _keyed_hash(ids: StreamIds, name: str, value: Any) -> str:
    return ids.blind(name, msgspec.json.encode(value).decode()).hex()


@lru_cache(maxsize=4)
def _slow_hash(secret: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(secret, salt=salt, **_SCRYPT)
