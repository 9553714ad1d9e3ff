"""Hears of people erased by other processes, and forgets them here too."""

from uuid import UUID

from huajuan.event_store.store import EventStore

CHANNEL = "huajuan_erasures"


class Forgetting:
    """What was said while nobody listened is not known, so then everything is forgotten."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def hear(self, words: str) -> None:
        self._store.forget(UUID(words))

    def hearing(self, is_hearing: bool) -> None:
        self._store.forget_all()
