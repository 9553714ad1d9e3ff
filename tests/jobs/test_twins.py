"""One server under two addresses is told of, once; two servers never are."""

from typing import Any

from structlog.testing import capture_logs

from tests.commands.people import a_person
from tests.inference_client.balancer import balanced
from tests.jobs.conftest import Pair
from tests.jobs.fake_host import FakeHost
from tests.jobs.outcome import BRISK, IMPATIENT, asked, outcome
from tests.services import desk_before, desk_on, until

TOLD = "one painter under two addresses"


def told(logs: list[Any]) -> list[list[str]]:
    return [line["hosts"] for line in logs if line["event"] == TOLD]


async def test_it_is_told_of_once_and_draws_on(database_url: str, pair: Pair) -> None:
    url = pair[0].url
    with capture_logs() as logs:
        async with (
            balanced(url) as other,
            desk_before(database_url, url, other, dispatch=BRISK, painter=IMPATIENT) as desk,
        ):
            painters = desk.room.painters.all.values()
            await until(lambda: all(painter.answers for painter in painters))
            for number in range(3):
                ann = await a_person(desk, f"ann{number}", check_ins=1)
                drawn = await outcome(desk, ann, await asked(desk, ann), pictures=number)
                assert drawn.topic == "image.drawn"
                await until(lambda: not desk.room._errands.tasks)
    assert told(logs) == [sorted([url, other])]


async def test_two_servers_are_two(database_url: str, pair: Pair) -> None:
    with capture_logs() as logs:
        async with desk_before(
            database_url, pair[0].url, pair[1].url, dispatch=BRISK, painter=IMPATIENT
        ) as desk:
            twins = desk.room.closing._twins
            painters = desk.room.painters.all
            await until(lambda: all(painter.answers for painter in painters.values()))
            ann = await a_person(desk, check_ins=1)
            assert (await outcome(desk, ann, await asked(desk, ann))).topic == "image.drawn"
            await until(lambda: not any(twins.not_looked_at(painter) for painter in painters.values()))
    assert told(logs) == []


async def test_one_that_does_not_answer_is_looked_at_later(database_url: str) -> None:
    one, other = FakeHost(), FakeHost()
    async with desk_on(database_url, one, other, dispatch=BRISK) as desk:
        first, second = desk.room.painters.all.values()
        await until(lambda: bool(first.answers and second.answers))
        second.answers = None
        assert desk.room.closing._twins.not_looked_at(first) == []
        second.answers = True
        assert desk.room.closing._twins.not_looked_at(first) == [second]
