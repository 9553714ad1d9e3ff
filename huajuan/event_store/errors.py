"""Why the log could not take or give facts.

LogError
├── Conflict           the decision was made on a state that is no longer
│   └── PersonErased   a personal field was to be written for someone without a key
├── StreamBroken       a stream has a gap: nobody can decide on it
├── LogBusy            too many saves or callers are waiting; nothing was appended
└── LogUnavailable     Postgres did not answer in time; the save's outcome is unknown

`StalePrimary` is an outage: it lasts until another server answers.
"""

from pathlib import Path

import psycopg


class LogError(Exception):
    """The log could not do what was asked."""


class Conflict(LogError):
    """Somebody else wrote that version of a stream first; nothing of this save was appended."""


class StreamBroken(LogError):
    """Events are missing in the middle of a stream; nothing was appended, and nothing can be."""


class LogBusy(LogError):
    """Too many saves or callers are waiting; nothing was appended."""


class LogUnavailable(LogError):
    """Postgres did not answer within the bound."""


class PersonErased(Conflict):
    """A personal field was to be written for someone who has no key any more; nothing was appended."""


class Unstorable(Exception):
    """A field of the fact is nothing that a read table could hold; nothing was appended."""


class StalePrimary(psycopg.OperationalError):
    """This server was replaced by another: its timeline is lower than one that was seen."""

    def __init__(self, found: tuple[str, int], highest: int, folder: Path | None) -> None:
        system, timeline = found
        kept = f"; if it is to be used again on purpose, remove {system}-* in {folder}" if folder else ""
        super().__init__(
            f"the database is an old primary: it writes timeline {timeline}, and timeline {highest} of the same "
            f"system was seen before; what it holds may be out of date{kept}"
        )
