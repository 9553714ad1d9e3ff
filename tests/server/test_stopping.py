"""After a stop all processes have ended, and all data is kept."""

import signal
from pathlib import Path

import pytest

from tests.database import eventually
from tests.server.person import Person, fetch
from tests.server.processes import is_alive, named
from tests.server.service import Service

# The interpreter's resource tracker for several workers.
TRACKER = "multiprocessing.resource_tracker"


def test_a_signal_ends_all_processes_and_keeps_the_data(folder: Path) -> None:
    with Service(folder) as first:
        ann = Person("ann", first.ready().address)
        ann.check_in(first.address)
        made = ann.generate(first.address)
        picture = fetch(first.address, made["image_url"]).content
        assert_it_stops(first, signal.SIGINT)
    with Service(folder) as second:
        assert ann.score(second.ready().address) == 80, "the token outlives its maker"
        assert ann.log_in(second.address)["code"] == 200
        assert fetch(second.address, made["image_url"]).content == picture
        assert_it_stops(second, signal.SIGTERM)


def assert_it_stops(service: Service, number: signal.Signals) -> None:
    database = service.postgres.running()
    family = service.family()
    assert database
    assert len(family) == 1, "the painter"
    assert service.stop(number) == 0
    assert service.postgres.running() is None
    assert not any(is_alive(pid) for pid in family | {database})
    assert service.told.endswith("\nstopping\n")


def test_a_closed_terminal_stops_several_workers_too(folder: Path, module_database_url: str) -> None:
    with Service(folder, database_url=module_database_url, workers=2) as service:
        family = service.ready().family()
        # It ends by itself when the last pipe to it is closed, after the service has ended.
        tracker = named(family, TRACKER)
        assert service.stop(signal.SIGHUP) == 0
        assert not any(is_alive(pid) for pid in family - tracker)
        eventually(lambda: not any(is_alive(pid) for pid in tracker))
        assert "Traceback" not in service.told


@pytest.mark.parametrize("words", ["creating the database", "starting the demo ComfyUI"])
def test_a_start_can_be_interrupted(folder: Path, words: str) -> None:
    with Service(folder) as service:
        service.wait_for(words)
        family = service.family()
        assert service.stop(signal.SIGINT) == 0
        assert "\nstopping\n" in service.told
        assert "Traceback" not in service.told
        eventually(lambda: service.postgres.running() is None)
        eventually(lambda: not any(is_alive(pid) for pid in family))
