"""No painter at all: what waits gets its points back, nothing new is taken, and all goes on when one is back."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest

from huajuan.jobs.dispatcher import NOBODY_DREW
from huajuan.jobs.errors import NobodyDraws
from huajuan.jobs.queue import JobQueue
from huajuan.postgres.statements import Statements
from tests.commands.people import a_person, account_of
from tests.event_store.studio import opened
from tests.inference_client.conftest import RunningPainter
from tests.jobs.outcome import BRISK, IMPATIENT, asked, outcome
from tests.services import desk_before, until

PATIENT = msgspec.structs.replace(BRISK, nobody_seconds_max=0.3)


async def test_a_painter_that_was_dead_for_long_is_taken_back_without_a_restart(database_url: str) -> None:
    painter = RunningPainter()
    port = urlsplit(painter.url).port or 0
    async with desk_before(database_url, painter.url, dispatch=PATIENT, painter=IMPATIENT) as desk:
        ann = await a_person(desk, check_ins=1)
        painter.slow_down(3600)
        jobs = [await asked(desk, ann) for _ in range(3)]
        await until(lambda: painter.painter.jobs.running is not None)
        painter.close()
        for image_id in jobs:
            assert (await outcome(desk, ann, image_id)).reason == NOBODY_DREW
        with pytest.raises(NobodyDraws):
            await asked(desk, ann)
        assert (await account_of(desk, ann)).balance == 100
        painter = RunningPainter(port)
        await until(lambda: len(desk.room.painters) == 1)
        assert (await outcome(desk, ann, await asked(desk, ann))).topic == "image.drawn"
    painter.close()


async def test_who_reaches_no_painter_gives_up_nothing_while_another_process_draws(database_url: str) -> None:
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


async def test_what_is_past_its_deadline_is_given_up_whoever_draws(database_url: str) -> None:
    now = datetime.now(UTC)
    async with opened(database_url) as store:
        here, other = (JobQueue(Statements(store._pool, 5), uuid4(), PATIENT) for _ in range(2))
        for image_id in (uuid4(), late := uuid4()):
            await here.open(image_id, uuid4(), now + timedelta(seconds=-1 if image_id == late else 60))
            await here.ready(image_id)
        assert await other.claim("far", 1)
        assert [job.image_id for job in await here.claim_overdue(now, 10)] == [late]
