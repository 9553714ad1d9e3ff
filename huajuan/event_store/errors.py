"""Why the log could not take or give facts.

LogError
├── Conflict           the decision was made on a state that is no longer
│   └── PersonErased   a personal field was to be written for someone without a key
├── LogBusy            too many saves or callers are waiting; nothing was appended
└── LogUnavailable     Postgres did not answer in time; the save's outcome is unknown
"""


class LogError(Exception):
    """The log could not do what was asked."""


class Conflict(LogError):
    """Somebody else wrote that version of a stream first; nothing of this save was appended."""


class LogBusy(LogError):
    """Too many saves or callers are waiting; nothing was appended."""


class LogUnavailable(LogError):
    """Postgres did not answer within the bound."""


class PersonErased(Conflict):
    """A personal field was to be written for someone who has no key any more; nothing was appended."""


class Unstorable(Exception):
    """A field of the fact is nothing that a read table could hold; nothing was appended."""
