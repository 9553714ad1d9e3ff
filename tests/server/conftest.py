"""An empty folder for a service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database import fast_folder, passable_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with passable_folder(fast_folder()) as made:
        yield made


@pytest.fixture(scope="module")
def module_folder() -> Iterator[Path]:
    with passable_folder(fast_folder()) as made:
        yield made
