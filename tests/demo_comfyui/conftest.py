"""A demo server per module, served over HTTP, and reset before every test."""

from collections.abc import Iterator

import pytest

from tests.inference_client.conftest import RunningDemo


@pytest.fixture(scope="module")
def running_demo() -> Iterator[RunningDemo]:
    running = RunningDemo()
    yield running
    running.close()


@pytest.fixture
def demo(running_demo: RunningDemo) -> RunningDemo:
    running_demo.reset()
    return running_demo
