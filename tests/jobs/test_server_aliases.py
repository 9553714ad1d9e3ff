"""One server under two addresses is logged once; two servers are not."""

from typing import Any

from structlog.testing import capture_logs

from tests.commands.people import a_person
from tests.inference_client.balancer import balanced
from tests.jobs.conftest import Pair
from tests.jobs.fake_server import FakeInferenceServer
from tests.jobs.outcome import BRISK, IMPATIENT, asked, outcome
from tests.services import services_on, services_with_servers, until

TOLD = "one inference server has two addresses"


def told(logs: list[Any]) -> list[list[str]]:
    return [line["servers"] for line in logs if line["event"] == TOLD]


async def test_an_alias_is_logged_once_and_both_addresses_draw(database_url: str, pair: Pair) -> None:
    url = pair[0].url
    with capture_logs() as logs:
        async with (
            balanced(url) as other,
            services_with_servers(database_url, url, other, dispatch=BRISK, painter=IMPATIENT) as services,
        ):
            servers = services.job_runner.servers.all.values()
            await until(lambda: all(server.is_reachable for server in servers))
            for number in range(3):
                ann = await a_person(services, f"ann{number}", check_ins=1)
                drawn = await outcome(services, ann, await asked(services, ann), pictures=number)
                assert drawn.topic == "image.drawn"
                await until(lambda: not services.job_runner._background.tasks)
    assert told(logs) == [sorted([url, other])]


async def test_two_servers_are_no_aliases(database_url: str, pair: Pair) -> None:
    with capture_logs() as logs:
        async with services_with_servers(
            database_url, pair[0].url, pair[1].url, dispatch=BRISK, painter=IMPATIENT
        ) as services:
            twins = services.job_runner.cleanup._aliases
            servers = services.job_runner.servers.all
            await until(lambda: all(server.is_reachable for server in servers.values()))
            ann = await a_person(services, check_ins=1)
            assert (await outcome(services, ann, await asked(services, ann))).topic == "image.drawn"
            await until(lambda: not any(twins.unchecked(server) for server in servers.values()))
    assert told(logs) == []


async def test_an_unreachable_server_is_checked_later(database_url: str) -> None:
    one, other = FakeInferenceServer(), FakeInferenceServer()
    async with services_on(database_url, one, other, dispatch=BRISK) as services:
        first, second = services.job_runner.servers.all.values()
        await until(lambda: bool(first.is_reachable and second.is_reachable))
        second.is_reachable = None
        assert services.job_runner.cleanup._aliases.unchecked(first) == []
        second.is_reachable = True
        assert services.job_runner.cleanup._aliases.unchecked(first) == [second]
