"""Two servers behind a load balancer: every job ends once."""

from tests.commands.people import a_person
from tests.inference_client.balancer import balanced
from tests.inference_client.conftest import limits
from tests.jobs.conftest import Pair
from tests.jobs.outcome import BRISK, IMPATIENT, asked, outcome
from tests.services import services_with_servers

MEAN = limits(idle_connection_seconds_max=0.0)


async def test_each_job_ends_once(database_url: str, pair: Pair) -> None:
    one, other = pair
    for patience in (MEAN, IMPATIENT):
        async with (
            balanced(one.url, other.url) as url,
            services_with_servers(database_url, url, dispatch=BRISK, painter=patience) as services,
        ):
            for number in range(3):
                person = await a_person(services, f"ann{patience is MEAN:d}{number}", check_ins=1)
                image_id = await asked(services, person)
                await outcome(services, person, image_id, pictures=None)
