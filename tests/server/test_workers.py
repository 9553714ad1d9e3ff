"""Several workers of one service: each answers, all are consistent, and all end with their parent."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.database import eventually
from tests.loopback import NO_TLS
from tests.server.person import Person, fetch
from tests.server.processes import is_alive, named
from tests.server.service import Service

WORKER = "spawn_main"


@pytest.fixture(scope="module")
def service(module_folder: Path) -> Iterator[Service]:
    with Service(module_folder, workers=2) as started:
        yield started.ready()


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def workers_of(service: Service) -> set[int]:
    """After both are loaded."""
    eventually(lambda: len(named(service.family(), WORKER)) == 2)
    return named(service.family(), WORKER)


def answers(service: Service) -> bool:
    reply = httpx.get(f"{service.address}/readyz", trust_env=False, timeout=30, verify=NO_TLS)
    return reply.status_code == httpx.codes.OK


def test_each_worker_answers(service: Service) -> None:
    for worker in workers_of(service):
        with standing_still(worker):
            assert answers(service)


def scrape(service: Service) -> dict[str, set[str]]:
    """The workers in each series, by the name of the series."""
    text = httpx.get(f"{service.address}/metrics", trust_env=False, timeout=30, verify=NO_TLS).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if worker := sample.labels.get("worker"):
                found.setdefault(sample.name, set()).add(worker)
    return found


def test_each_workers_metrics_hold_the_series_of_all(service: Service) -> None:
    workers = workers_of(service)
    for standing in workers:
        with standing_still(standing):
            assert answers(service), "the other one has a series now, and the one that stands still later"
    everybody = set(map(str, workers))
    names = (
        *("huajuan_http_requests_total", "huajuan_http_request_seconds_count"),
        *("huajuan_projector_alive", "huajuan_replies_remembered_total"),
    )
    for standing in workers:
        with standing_still(standing):
            found = scrape(service)
            assert {name: found[name] for name in names} == dict.fromkeys(names, everybody)


def test_all_workers_share_one_lease(service: Service) -> None:
    workers_of(service)
    with psycopg.connect(service.postgres.dsn("huajuan")) as connection:
        (held,) = connection.execute("SELECT name FROM operations.servers").fetchall()
    assert held[0].endswith(f":{service.process.pid}")


def test_each_user_reads_their_own_writes(service: Service) -> None:
    def story(number: int) -> None:
        at = service.address
        person = Person(f"person{number}", at)
        assert person.score(at) == 0
        assert person.check_in(at)["score"] == person.score(at) == 100
        for score in (80, 60):
            made = person.generate(at, width=128, height=128, steps=1)
            assert made["score"] == person.score(at) == score
            assert person.images(at)[-1]["picture"] == made["image_url"]
            assert fetch(at, made["image_url"]).status_code == 200

    with ThreadPoolExecutor(4) as crowd:
        list(crowd.map(story, range(12)))


def test_one_of_20_simultaneous_check_ins_counts(service: Service) -> None:
    eve = Person("eve", service.address)
    with ThreadPoolExecutor(20) as crowd:
        replies = list(crowd.map(lambda _: eve.check_in(service.address), range(20)))
    assert sorted(r["code"] for r in replies) == [200] + [400] * 19
    assert eve.score(service.address) == 100


def test_a_killed_worker_is_replaced(service: Service) -> None:
    killed = min(workers_of(service))
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in workers_of(service))
    assert answers(service)
    assert str(killed) not in scrape(service)["huajuan_http_requests_total"]


def test_all_processes_end_with_a_killed_service(service: Service, module_folder: Path) -> None:
    """The last test of this file, because it ends the service of the tests above.

    The port is free again, too.
    """
    workers_of(service)
    fay = Person("fay", service.address)
    fay.check_in(service.address)
    made = fay.generate(service.address)
    orphans = service.kill()
    assert len(orphans) >= 3, "two workers and the painter"
    eventually(lambda: not any(is_alive(pid) for pid in orphans))
    with Service(module_folder, service.port) as successor:
        assert fay.score(successor.ready().address) == 80
        assert fetch(successor.address, made["image_url"]).status_code == 200
        orphans = successor.kill()
        assert len(orphans) == 1, "the painter"
        eventually(lambda: not any(is_alive(pid) for pid in orphans))
    with Service(module_folder, service.port) as successor:
        assert fay.log_in(successor.ready().address)["code"] == 200
        assert fay.generate(successor.address)["score"] == 60
