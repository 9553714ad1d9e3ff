"""Fair order through the service: between two starts of one account no other account has two."""

from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import msgspec

from huajuan.demo_comfyui.faults import Mode
from huajuan.http.services import Services
from huajuan.jobs.queue import DispatchLimits, JobQueue
from huajuan.postgres.statements import Statements
from tests.commands.people import a_person
from tests.event_store.helpers import opened
from tests.inference_client.conftest import FAST
from tests.jobs.conftest import Pair
from tests.jobs.outcome import BRISK, asked, starts
from tests.services import services_with_servers, until

ONE_SLOT = msgspec.structs.replace(BRISK, jobs_per_server_max=1)
NAMES = ("ann", "ben", "eve", "kim")
JOBS = 5


def most_between(order: list[str], name: str) -> int:
    """The most starts of another account between two consecutive starts of this one."""
    places = [place for place, who in enumerate(order) if who == name]
    between = [order[one + 1 : other] for one, other in pairwise(places)]
    return max(max(Counter(part).values(), default=0) for part in between)


async def ask_for_all(desks: list[Services]) -> dict[UUID, str]:
    """Each account requests all its jobs at once, one account after the other."""
    people = {name: await a_person(desks[0], name, check_ins=1) for name in NAMES}
    return {
        await asked(desks[number % len(desks)], account): name
        for name, account in people.items()
        for number in range(JOBS)
    }


async def test_four_accounts_with_five_jobs_each_at_one_server_and_two_processes(
    database_url: str, pair: Pair
) -> None:
    url = pair[0].url
    pair[0].fault(Mode.NEVER_ENDING)
    async with (
        services_with_servers(database_url, url, dispatch=ONE_SLOT, painter=FAST) as one,
        services_with_servers(database_url, url, dispatch=ONE_SLOT, painter=FAST) as other,
    ):
        whose = await ask_for_all([one, other])
        assert len(await starts(one)) <= 1
        pair[0].http.post("/interrupt").raise_for_status()

        async def are_over() -> bool:
            return len(await starts(one)) == len(whose)

        await until(are_over)
        order = [whose[image_id] for image_id in await starts(one)]
        assert Counter(order) == dict.fromkeys(NAMES, JOBS)
        assert [most_between(order, name) for name in NAMES] == [1] * len(NAMES)


async def test_two_jobs_at_a_server_are_taken_in_turn_as_well(database_url: str) -> None:
    most = DispatchLimits().jobs_per_server_max
    deadline = datetime.now(UTC) + timedelta(hours=1)
    accounts = {uuid4(): name for name in NAMES}
    async with opened(database_url) as store:
        queue = JobQueue(Statements(store._pool, 5), uuid4(), DispatchLimits())
        whose: dict[UUID, str] = {}
        for account, name in accounts.items():
            for _ in range(JOBS):
                whose[image_id := uuid4()] = name
                await queue.open(image_id, account, deadline)
                await queue.ready(image_id)
        order, at_painter = list[str](), deque[UUID]()
        while len(order) < len(whose):
            if (claimed := await queue.claim("server", most)) is None:
                assert len(at_painter) == most
                await queue.close(at_painter.popleft())
            else:
                at_painter.append(claimed.image_id)
                order.append(whose[claimed.image_id])
    assert [most_between(order, name) for name in NAMES] == [1] * len(NAMES)


async def test_by_default_a_server_has_the_next_job_before_it_ends_one(database_url: str, pair: Pair) -> None:
    server = pair[0]
    server.fault(Mode.NEVER_ENDING)
    usual = msgspec.structs.replace(BRISK, jobs_per_server_max=DispatchLimits().jobs_per_server_max)
    async with services_with_servers(database_url, server.url, dispatch=usual, painter=FAST) as services:
        ann = await a_person(services, check_ins=1)
        jobs = [await asked(services, ann) for _ in range(4)]
        await until(lambda: server.demo.jobs.remaining() == 2)
        places = [await services.queue.position(image_id) for image_id in jobs]
        shown = [(place.ahead, place.is_running, place.running_jobs) for place in places if place]
        assert sorted(shown) == [(0, False, 2), (0, True, 2), (0, True, 2), (1, False, 2)]
        server.http.post("/interrupt").raise_for_status()

        async def are_over() -> bool:
            return [await services.queue.position(image_id) for image_id in jobs] == [None] * 4

        await until(are_over)
