"""Without a server: waiting jobs fail, new ones are refused, and work resumes when a server is back."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest

from huajuan.jobs.dispatcher import NO_SERVER_AVAILABLE
from huajuan.jobs.queue import JobQueue, NoServerAvailable
from huajuan.postgres.statements import Statements
from tests.commands.people import a_person, account_of
from tests.event_store.helpers import opened
from tests.inference_client.conftest import RunningDemo
from tests.jobs.outcome import BRISK, IMPATIENT, asked, outcome
from tests.services import services_with_servers, until

PATIENT = msgspec.structs.replace(BRISK, no_server_timeout_seconds=0.3)


async def test_a_server_that_was_down_for_long_is_used_again_without_a_restart(database_url: str) -> None:
    server = RunningDemo()
    port = urlsplit(server.url).port or 0
    async with services_with_servers(
        database_url, server.url, dispatch=PATIENT, painter=IMPATIENT
    ) as services:
        ann = await a_person(services, check_ins=1)
        server.slow_down(3600)
        jobs = [await asked(services, ann) for _ in range(3)]
        await until(lambda: server.demo.jobs.running is not None)
        server.close()
        for image_id in jobs:
            assert (await outcome(services, ann, image_id)).reason == NO_SERVER_AVAILABLE
        with pytest.raises(NoServerAvailable):
            await asked(services, ann)
        assert (await account_of(services, ann)).balance == 100
        server = RunningDemo(port)
        await until(lambda: len(services.job_runner.servers) == 1)
        assert (await outcome(services, ann, await asked(services, ann))).topic == "image.drawn"
    server.close()


async def test_a_process_without_a_server_fails_no_job_while_another_process_draws(database_url: str) -> None:
    now = datetime.now(UTC)
    async with opened(database_url) as store:
        cut_off, other = (JobQueue(Statements(store._pool, 5), uuid4(), PATIENT) for _ in range(2))
        for image_id in (first := uuid4(), second := uuid4()):
            await cut_off.open(image_id, uuid4(), now + timedelta(hours=1))
            await cut_off.ready(image_id)
        claimed = await other.claim("far", 1)
        assert claimed
        assert claimed.image_id == first
        assert await cut_off.claim_overdue(now, 10, all_waiting=True) == []
        await other.close(first)
        assert [job.image_id for job in await cut_off.claim_overdue(now, 10, all_waiting=True)] == [second]


async def test_overdue_jobs_fail_while_another_process_draws(database_url: str) -> None:
    now = datetime.now(UTC)
    async with opened(database_url) as store:
        here, other = (JobQueue(Statements(store._pool, 5), uuid4(), PATIENT) for _ in range(2))
        for image_id in (uuid4(), late := uuid4()):
            await here.open(image_id, uuid4(), now + timedelta(seconds=-1 if image_id == late else 60))
            await here.ready(image_id)
        assert await other.claim("far", 1)
        assert [job.image_id for job in await here.claim_overdue(now, 10)] == [late]
