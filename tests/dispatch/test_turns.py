"""Turns through the whole service: between two starts of one person no other person has two."""

from collections import Counter
from itertools import pairwise
from uuid import UUID

import msgspec

from huajuan.http.desk import Desk
from huajuan.inference_client.painter.faults import Mode
from tests.commands.people import a_person
from tests.desk import desk_before, until
from tests.dispatch.conftest import Pair
from tests.dispatch.outcome import BRISK, asked, starts
from tests.inference_client.conftest import FAST

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
