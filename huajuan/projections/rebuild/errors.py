"""The errors of a rebuild.

RebuildFailed
├── AlreadyRebuilding
├── FoldFailed
├── SchemaInUse
└── SwapTimeout
"""


class RebuildFailed(Exception):
    """There are no new tables, and the old ones are still served. The message is the reason."""


class AlreadyRebuilding(RebuildFailed):
    """Another process rebuilds one of these tables now."""

    def __init__(self, table: str) -> None:
        super().__init__(f"{table} is being rebuilt already")


class FoldFailed(RebuildFailed):
    """An event could not be folded."""

    def __init__(self, projection: str, position: int, error: Exception) -> None:
        super().__init__(f"{projection} cannot fold the event at position {position}: {type(error).__name__}")


class SchemaInUse(RebuildFailed):
    """A schema of an earlier rebuild cannot be dropped, because a transaction reads it."""

    def __init__(self, schema: str) -> None:
        super().__init__(f"{schema}, a schema of an earlier rebuild, is still being read; try again later")


class SwapTimeout(RebuildFailed):
    """The checkpoint of a live table was locked for too long."""

    def __init__(self) -> None:
        super().__init__(
            "the swap gave up: another process locked the checkpoint of a live table for too long"
        )
