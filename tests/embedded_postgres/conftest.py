"""A folder and helper processes for tests of the launcher."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.database import fast_folder, passable_folder
from tests.embedded_postgres.user import User

NewUser = Callable[..., User]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that the server's account can traverse."""
    with passable_folder(fast_folder()) as made:
        yield made


@pytest.fixture
def new_user() -> Iterator[NewUser]:
    """Starts processes that use an embedded server, and ends the remaining ones after the test."""
    with ExitStack() as users:
        yield lambda root, **options: users.enter_context(User(root, **options))
