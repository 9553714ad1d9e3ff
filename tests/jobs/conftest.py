"""Two real painters a module, over real HTTP, wiped before every test."""

from collections.abc import Iterator

import pytest

from tests.inference_client.conftest import RunningPainter

Pair = tuple[RunningPainter, RunningPainter]


@pytest.fixture(scope="module")
def running_pair() -> Iterator[Pair]:
    pair = RunningPainter(), RunningPainter()
    yield pair
    for painter in pair:
        painter.close()


@pytest.fixture
def pair(running_pair: Pair) -> Pair:
    for painter in running_pair:
        painter.reset()
    return running_pair
