"""The one exception of this package."""


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be used; the message says why and what a person can do about it."""
