"""Errors of the log, the picture store and the dispatcher leave no job behind."""

import msgspec
import pytest

from huajuan.event_store.errors import DatabaseBusy, DatabaseFailure, DatabaseUnavailable
from huajuan.inference_client import JobLost
from huajuan.jobs.outcomes import record_started
from huajuan.jobs.runner import TOO_LONG
from huajuan.jobs.servers import InferenceServer
from huajuan.storage.pictures import Pictures
from tests.commands.people import a_person
from tests.jobs.fake_server import FailingServer, FakeInferenceServer
from tests.jobs.outcome import BRISK, asked, image_of, outcome
from tests.services import services_on, until

SOON_LAPSED = msgspec.structs.replace(BRISK, lease_seconds=0.3)


@pytest.mark.parametrize("error", [DatabaseBusy(), DatabaseUnavailable()], ids=["busy", "unavailable"])
async def test_a_log_error_at_the_start_does_not_fail_the_job(
    database_url: str, monkeypatch: pytest.MonkeyPatch, error: DatabaseFailure
) -> None:
    errors = [error]

    async def stumbling(*asked: object) -> object:
        if errors:
            raise errors.pop()
        return await record_started(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr("huajuan.jobs.runner.record_started", stumbling)
    async with services_on(database_url, FakeInferenceServer(), dispatch=SOON_LAPSED) as services:
        ann = await a_person(services, check_ins=1)
        assert (await outcome(services, ann, await asked(services, ann))).topic == "image.drawn"


async def test_a_dispatcher_continues_after_an_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [ZeroDivisionError(), DatabaseUnavailable()]
    real = InferenceServer.ensure_reachable

    async def ensure_reachable(server: InferenceServer) -> bool:
        if errors:
            raise errors.pop()
        return await real(server)

    monkeypatch.setattr(InferenceServer, "ensure_reachable", ensure_reachable)
    async with services_on(database_url, FakeInferenceServer(), dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        assert (await outcome(services, ann, await asked(services, ann))).topic == "image.drawn"
        assert not errors


async def test_overdue_jobs_fail_despite_an_error_of_the_picture_store(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [OSError(5, "Input/output error")]
    real = Pictures.remove

    async def remove(pictures: Pictures, key: str) -> None:
        if errors:
            raise errors.pop()
        await real(pictures, key)

    host = FailingServer(JobLost("restarted"))
    limits = msgspec.structs.replace(
        SOON_LAPSED, cooldown_seconds_min=3600, cooldown_seconds_max=3600, jobs_per_server_max=1
    )
    async with services_on(database_url, host, dispatch=limits) as services:
        ann, ben = await a_person(services, check_ins=1), await a_person(services, "ben", check_ins=1)
        jobs = [(ann, await asked(services, ann)), (ben, await asked(services, ben))]
        await until(lambda: bool(host.drawn) and not services.job_runner._jobs)
        monkeypatch.setattr(Pictures, "remove", remove)
        last = await image_of(services, jobs[1][1])
        services.store.clock = lambda: last.deadline
        for account_id, image_id in jobs:
            assert (await outcome(services, account_id, image_id)).reason == TOO_LONG
        assert not errors
