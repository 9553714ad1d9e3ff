"""Turns: between two starts of one person no other person has two, however many jobs a painter has at once."""

from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import msgspec

from huajuan.demo_comfyui.faults import Mode
from huajuan.http.services import Desk
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.queue import JobQueue
from huajuan.postgres.statements import Statements
from tests.commands.people import a_person
from tests.event_store.studio import opened
from tests.inference_client.conftest import FAST
from tests.jobs.conftest import Pair
from tests.jobs.outcome import BRISK, asked, starts
from tests.services import desk_before, until

ONE_SLOT = msgspec.structs.replace(BRISK, jobs_of_host_max=1)
NAMES = ("ann", "ben", "eve", "kim")
JOBS = 5


def most_between(order: list[str], name: str) -> int:
    """How often any other started between two starts of this one that follow each other."""
    places = [place for place, who in enumerate(order) if who == name]
    between = [order[one + 1 : other] for one, other in pairwise(places)]
    return max(max(Counter(part).values(), default=0) for part in between)


async def ask_for_all(desks: list[Desk]) -> dict[UUID, str]:
    """Each asks for all of hers at once, one person after the other."""
    people = {name: await a_person(desks[0], name, check_ins=1) for name in NAMES}
    return {
        await asked(desks[number % len(desks)], account): name
        for name, account in people.items()
        for number in range(JOBS)
    }


async def test_four_with_five_jobs_each_at_one_painter_and_two_processes(
    database_url: str, pair: Pair
) -> None:
    url = pair[0].url
    pair[0].fault(Mode.NEVER_ENDING)
    async with (
        desk_before(database_url, url, dispatch=ONE_SLOT, painter=FAST) as one,
        desk_before(database_url, url, dispatch=ONE_SLOT, painter=FAST) as other,
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


async def test_two_jobs_at_a_painter_are_taken_in_turn_as_well(database_url: str) -> None:
    most = DispatchLimits().jobs_of_host_max
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
            if (claimed := await queue.claim("painter", most)) is None:
                assert len(at_painter) == most
                await queue.close(at_painter.popleft())
            else:
                at_painter.append(claimed.image_id)
                order.append(whose[claimed.image_id])
    assert [most_between(order, name) for name in NAMES] == [1] * len(NAMES)


async def test_by_default_a_painter_has_the_next_job_before_it_ends_one(
    database_url: str, pair: Pair
) -> None:
    painter = pair[0]
    painter.fault(Mode.NEVER_ENDING)
    usual = msgspec.structs.replace(BRISK, jobs_of_host_max=DispatchLimits().jobs_of_host_max)
    async with desk_before(database_url, painter.url, dispatch=usual, painter=FAST) as desk:
        ann = await a_person(desk, check_ins=1)
        jobs = [await asked(desk, ann) for _ in range(4)]
        await until(lambda: painter.painter.jobs.remaining() == 2)
        places = [await desk.queue.place(image_id) for image_id in jobs]
        shown = [(place.ahead, place.in_hand, place.at_work) for place in places if place]
        assert sorted(shown) == [(0, False, 2), (0, True, 2), (0, True, 2), (1, False, 2)]
        painter.http.post("/interrupt").raise_for_status()

        async def are_over() -> bool:
            return [await desk.queue.place(image_id) for image_id in jobs] == [None] * 4

        await until(are_over)
