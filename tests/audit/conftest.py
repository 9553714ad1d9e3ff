"""A log that all tests of a module share; changes to it are rolled back."""

import asyncio

import pytest

from tests.event_store.helpers import check_in, opened, register

EVENTS = 24


@pytest.fixture(scope="module")
def log(module_database_url: str) -> str:
    """The DSN of a log with 24 events of two people."""

    async def write() -> None:
        async with opened(module_database_url) as store:
            people = [await register(store, name) for name in ("ann", "ben")]
            for day in range((EVENTS - len(people)) // len(people)):
                for person in people:
                    await check_in(store, person, day)

    asyncio.run(write())
    return module_database_url
