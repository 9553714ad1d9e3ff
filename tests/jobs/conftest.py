"""Two demo servers per module, over HTTP, reset before every test."""

from collections.abc import Iterator

import pytest

from tests.inference_client.conftest import RunningDemo

Pair = tuple[RunningDemo, RunningDemo]


@pytest.fixture(scope="module")
def running_pair() -> Iterator[Pair]:
    pair = RunningDemo(), RunningDemo()
    yield pair
    for server in pair:
        server.close()


@pytest.fixture
def pair(running_pair: Pair) -> Pair:
    for server in running_pair:
        server.reset()
    return running_pair
