"""Why a rebuild came to nothing."""


class RebuildFailed(Exception):
    """The old tables go on serving; the message says why there are no new ones."""


class AlreadyRebuilding(RebuildFailed):
    """Somebody else rebuilds one of these tables just now."""

    def __init__(self, table: str) -> None:
        super().__init__(f"{table} is being rebuilt already")


class BegunBefore(RebuildFailed):
    """One request, one rebuild: a request that was sent again begins no other."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the rebuild that is asked for at position {position} was begun before")


class NotAskedFor(RebuildFailed):
    """Nobody asked for a rebuild of these tables there."""

    def __init__(self, position: int) -> None:
        super().__init__(f"at position {position} nobody asks for a rebuild of that table")


class StillRead(RebuildFailed):
    """What an earlier rebuild left is in the way, and somebody reads it."""

    def __init__(self, schema: str) -> None:
        super().__init__(
            f"{schema}, which an earlier rebuild left, is still read by somebody; try again later"
        )


class FoldFailed(RebuildFailed):
    """An event could not be folded."""

    def __init__(self, projection: str, position: int, error: Exception) -> None:
        super().__init__(f"{projection} cannot fold the event at position {position}: {type(error).__name__}")


class NeverLetGo(RebuildFailed):
    """Whoever leads a live table holds it too long for a swap."""

    def __init__(self) -> None:
        super().__init__(
            "a live table was held too long by whoever leads it, so the new ones could not replace them"
        )


class NeverCaughtUp(RebuildFailed):
    """Events come faster than they can be folded."""

    def __init__(self) -> None:
        super().__init__("events come faster than they can be folded")
