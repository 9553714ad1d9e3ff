"""The range of every setting that is a number: by its own name, or else by the unit that its name tells."""

from typing import NamedTuple

from huajuan.domain.points import ADJUSTMENT_MAX

A_DAY, A_WEEK = 24 * 3600, 7 * 24 * 3600
TEN_YEARS_HOURS = 10 * 365 * 24
MANY = 1_000_000
KIB, GIB = 1 << 10, 1 << 30


class Range(NamedTuple):
    """Both ends included."""

    least: float
    most: float

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int | float) and self.least <= number <= self.most

    def __str__(self) -> str:
        return f"{self.least:,} to {self.most:,}"


# A new setting gets its range here if that of its unit does not suit it. Names are without HUAJUAN_.
OWN = {
    "PORT": Range(1, 65535),
    "WORKERS": Range(1, 256),
    "WELCOME_POINTS": Range(0, ADJUSTMENT_MAX),
    "BCRYPT_COST": Range(4, 16),
    "CONNECTIONS_MAX": Range(2, 1000),
    "TOKEN_HOURS": Range(0.001, TEN_YEARS_HOURS),
    "IDEMPOTENCY_KEPT_HOURS": Range(0.001, TEN_YEARS_HOURS),
    "GENERATE_WAIT_SECONDS": Range(0.01, A_DAY),
    "AUDIT_POINTS_EVERY_SECONDS": Range(1, A_WEEK),
    "STREAMS_LOOK_SECONDS": Range(0.05, A_DAY),
    "LOG_CLOCK_BEHIND_SECONDS_MAX": Range(0, A_DAY),
    "LIST_ROWS_MAX": Range(1, 100_000),
    "FEATURE_WORDS_MAX": Range(1, 1000),
    "SQUARE_IMAGES_MAX": Range(1, 10_000),
    "IMAGES_AT_ONCE_MAX": Range(1, 10_000),
    "REPLIES_KEPT_BYTES_MAX": Range(0, 64 * GIB),
    "IDEMPOTENCY_REPLY_BYTES_MAX": Range(0, GIB),
    "IDEMPOTENCY_WAITING_MAX": Range(1, MANY),
    "DISPATCH_FULL_RETRY_SECONDS": Range(1, A_DAY),
    "PAINTER_LOOKS_BEFORE_RESENDING": Range(0, 1000),
    "PAINTER_DETAIL_CHARACTERS_MAX": Range(0, MANY),
    "PAINTER_SOCKET_RENEWALS_MAX": Range(0, 1000),
    "REBUILD_ROWS_KEPT_MAX": Range(1, 100 * MANY),
    # With 0 nothing is waited for, kept back or shown.
    "READ_OWN_WRITES_SECONDS_MAX": Range(0, A_DAY),
    "PROJECTION_FOREIGN_GRACE_SECONDS": Range(0, A_DAY),
    "PROJECTION_UNUSED_VERSION_HOURS_MAX": Range(0, TEN_YEARS_HOURS),
    "ERASE_SETTLE_SECONDS": Range(0, A_WEEK),
    "STOP_SECONDS_MAX": Range(0, A_DAY),
    "DISPATCH_STOP_SECONDS_MAX": Range(0, A_DAY),
    "DISPATCH_NOBODY_SECONDS_MAX": Range(0, A_WEEK),
    "PAINTER_SOCKET_HEAD_START_SECONDS_MAX": Range(0, A_DAY),
    "RESTORE_HOURS": Range(0, TEN_YEARS_HOURS),
    "LOG_SNAPSHOTS_WAITING_MAX": Range(0, MANY),
    "REBUILD_LAST_STEP_EVENTS_MAX": Range(0, MANY),
    "REBUILD_DIFFERENCES_SHOWN_MAX": Range(0, MANY),
    # 0 sets no limit.
    "REGISTRATIONS_PER_ADDRESS_HOUR": Range(0, MANY),
    "LOGIN_WINDOW_SECONDS": Range(0.01, A_DAY),
    "LOGIN_WAIT_SECONDS": Range(0, 600),
    "LOGIN_ATTEMPT_SECONDS_MAX": Range(1, 600),
    "LOGIN_KNOWN_ADDRESSES_MAX": Range(0, 1000),
    "LOGIN_KNOWN_ADDRESS_DAYS": Range(0, 3650),
    "HTTP_REQUEST_LINE_BYTES_MAX": Range(256, 65_000),
    "HTTP_HEADER_BYTES_MAX": Range(KIB, 1 << 20),
    "HTTP_HEADERS_MAX": Range(10, 10_000),
    "HTTP_HEAD_SECONDS": Range(0.1, 3600),
    "HTTP_BODY_SECONDS": Range(0.1, 3600),
    "HTTP_WRITE_STALL_SECONDS": Range(0.1, 3600),
    "HTTP_KEEP_ALIVE_SECONDS": Range(0, A_DAY),
    "HTTP_CONNECTIONS_MAX": Range(0, 60_000),
    "HTTP_UNSENT_BYTES_MAX": Range(1 << 20, 1 << 40),
}
# The first that the name ends with counts.
UNITS = {
    "_THREADS_MAX": Range(1, 256),
    "_CACHED_MAX": Range(0, 100 * MANY),
    "_WAITING_MAX": Range(0, MANY),
    "_BYTES_MAX": Range(KIB, GIB),
    "_MB": Range(1, 65_536),
    "_HOURS": Range(0.001, TEN_YEARS_HOURS),
    "_HOURS_MAX": Range(0.001, TEN_YEARS_HOURS),
    "_SECONDS": Range(0.01, A_WEEK),
    "_SECONDS_MAX": Range(0.01, A_WEEK),
    "_SECONDS_MIN": Range(0.01, A_WEEK),
    "_SECONDS_WITHOUT_PROGRESS_MAX": Range(0.01, A_WEEK),
    "_EVENTS": Range(1, MANY),
    "_EVENTS_READ": Range(1, MANY),
    "_MAX": Range(1, MANY),
}


def range_of(name: str) -> Range:
    """By the setting's name without HUAJUAN_. Raises `KeyError` for one that names no unit."""
    found = OWN.get(name)
    if found is None:
        found = UNITS[next((unit for unit in UNITS if name.endswith(unit)), name)]
    return found
