"""What goes wrong around the drawing: the log, the shelf for pictures, the dispatcher itself. No job is left behind."""

import msgspec
import pytest

from huajuan.event_store.errors import LogBusy, LogError, LogUnavailable
from huajuan.inference_client import JobLost
from huajuan.jobs.outcomes import tell_started
from huajuan.jobs.runner import TOO_LONG
from huajuan.jobs.servers import Painter
from huajuan.storage.pictures import Pictures
from tests.commands.people import a_person
from tests.jobs.fake_host import Failing, FakeHost
from tests.jobs.outcome import BRISK, asked, image_of, outcome
from tests.services import desk_on, until

SOON_LAPSED = msgspec.structs.replace(BRISK, lease_seconds=0.3)


@pytest.mark.parametrize("error", [LogBusy(), LogUnavailable()], ids=["busy", "unavailable"])
async def test_a_log_that_stumbles_at_the_start_is_no_failure_of_the_job(
    database_url: str, monkeypatch: pytest.MonkeyPatch, error: LogError
) -> None:
    errors = [error]

    async def stumbling(*asked: object) -> object:
        if errors:
            raise errors.pop()
        return await tell_started(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr("huajuan.jobs.runner.tell_started", stumbling)
    async with desk_on(database_url, FakeHost(), dispatch=SOON_LAPSED) as desk:
        ann = await a_person(desk, check_ins=1)
        assert (await outcome(desk, ann, await asked(desk, ann))).topic == "image.drawn"


async def test_a_dispatcher_that_stumbled_takes_the_next_job(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [ZeroDivisionError(), LogUnavailable()]
    real = Painter.is_there

    async def is_there(painter: Painter) -> bool:
        if errors:
            raise errors.pop()
        return await real(painter)

    monkeypatch.setattr(Painter, "is_there", is_there)
    async with desk_on(database_url, FakeHost(), dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        assert (await outcome(desk, ann, await asked(desk, ann))).topic == "image.drawn"
        assert not errors


async def test_jobs_are_given_up_although_the_shelf_stumbled(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [OSError(5, "Input/output error")]
    real = Pictures.remove

    async def remove(pictures: Pictures, key: str) -> None:
        if errors:
            raise errors.pop()
        await real(pictures, key)

    host = Failing(JobLost("restarted"))
    limits = msgspec.structs.replace(
        SOON_LAPSED, rest_seconds_min=3600, rest_seconds_max=3600, jobs_of_host_max=1
    )
    async with desk_on(database_url, host, dispatch=limits) as desk:
        ann, ben = await a_person(desk, check_ins=1), await a_person(desk, "ben", check_ins=1)
        jobs = [(ann, await asked(desk, ann)), (ben, await asked(desk, ben))]
        await until(lambda: bool(host.drawn) and not desk.room._jobs)
        monkeypatch.setattr(Pictures, "remove", remove)
        last = await image_of(desk, jobs[1][1])
        desk.store.clock = lambda: last.deadline
        for account_id, image_id in jobs:
            assert (await outcome(desk, account_id, image_id)).reason == TOO_LONG
        assert not errors
