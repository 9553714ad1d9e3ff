"""Errors of the event store.

DatabaseFailure
├── Conflict             optimistic concurrency: the stream has another version by now
│   └── PersonErased     a personal field cannot be encrypted, because its person has no key
├── StreamBroken         events are missing in a stream
├── DatabaseBusy         a bound was exceeded; nothing was written
└── DatabaseUnavailable  Postgres did not answer in time; the outcome of a write is unknown
"""

from huajuan.postgres.retry import DatabaseBusy as DatabaseBusy
from huajuan.postgres.retry import DatabaseFailure as DatabaseFailure
from huajuan.postgres.retry import DatabaseUnavailable as DatabaseUnavailable


class Conflict(DatabaseFailure):
    """Another process has appended this version of a stream. Nothing of this save was appended."""


class StreamBroken(DatabaseFailure):
    """Events are missing in the middle of a stream. Nothing can be appended to it."""


class PersonErased(Conflict):
    """A personal field has no encryption key, because its person was erased. Nothing was appended."""


class Unstorable(Exception):
    """A read table cannot hold a value of the event. Nothing was appended."""
