"""Every fault of a server, as a user sees it: drawn and paid, or failed with a reason and not paid."""

import re
from typing import NamedTuple

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.jobs.runner import LOST, TOO_LONG
from tests.commands.people import a_person
from tests.jobs.conftest import Pair
from tests.jobs.outcome import BRISK, IMPATIENT, asked, held_back, image_of, outcome, rows
from tests.services import services_with_servers, until

DRAWN = "drawn"
AT_DEADLINE = "took too long"
READABLE = re.compile(r"[a-z][A-Za-z0-9_ ',:.()-]{5,150}")


class Case(NamedTuple):
    """The result of a fault, `alone` and `beside` a healthy server: a picture, or a part of the reason."""

    mode: Mode
    alone: str
    beside: str = DRAWN
    times: int | None = None
    seconds: float = 3.0


CASES = [
    # comfyui.md §7, case 1: an ambiguous submit.
    Case(Mode.SUBMIT_500, DRAWN, times=1),
    Case(Mode.SUBMIT_500, LOST),
    Case(Mode.SUBMIT_500_QUEUED, DRAWN, times=1),
    Case(Mode.SUBMIT_HANGS, DRAWN, times=1),
    Case(Mode.SUBMIT_HANGS_QUEUED, DRAWN, times=1),
    Case(Mode.SUBMIT_DROPPED, DRAWN, times=1),
    Case(Mode.SUBMIT_DROPPED_QUEUED, DRAWN, times=1),
    Case(Mode.SUBMIT_GARBAGE_QUEUED, DRAWN, times=1),
    Case(Mode.SUBMIT_FORBIDDEN, LOST),
    Case(Mode.SUBMIT_OTHER_ID, "too old to take our job ids"),
    # 2 and 3: rejected with an error status or with a 200.
    Case(Mode.NODE_ERRORS_WITH_200, "value_not_in_list (CheckpointLoaderSimple.ckpt_name)"),
    Case(Mode.MISSING_MODEL, "value_not_in_list (CheckpointLoaderSimple.ckpt_name)"),
    Case(Mode.MISSING_NODE, "missing_node_type (SuperSampler)"),
    Case(Mode.MISSING_NODE_OLD, "invalid_prompt"),
    Case(Mode.NO_CHECKPOINTS, "no model"),
    # 4 and 5: the socket.
    Case(Mode.SOCKET_REFUSED, DRAWN),
    Case(Mode.SOCKET_CLOSED, DRAWN),
    Case(Mode.SOCKET_DEAF, DRAWN),
    Case(Mode.SOCKET_FROZEN, DRAWN),
    Case(Mode.SOCKET_HUGE_FRAME, DRAWN),
    Case(Mode.SOCKET_NOISE, DRAWN),
    # 6 and 7: lookups fail, or the job is lost.
    Case(Mode.LOOKUP_500, AT_DEADLINE),
    Case(Mode.HISTORY_LATE, DRAWN, times=1, seconds=0.2),
    Case(Mode.HISTORY_LATE, "lost the finished job", times=1, seconds=3600),
    Case(Mode.HISTORY_HUGE, AT_DEADLINE),
    Case(Mode.RESTART, DRAWN, times=1),
    Case(Mode.RESTART, "lost the job"),
    # 8: a user of the server interrupts it; it is not drawn again.
    Case(Mode.INTERRUPTED, "the job was stopped", "the job was stopped"),
    # 9: the process hangs, or its drawing thread is dead while HTTP still works.
    Case(Mode.NEVER_ENDING, TOO_LONG, TOO_LONG),
    Case(Mode.ZOMBIE, TOO_LONG, times=1),
    # 10 to 13 and 15: success without the picture, or with too much of it.
    Case(Mode.FILE_GONE, "gone"),
    Case(Mode.NO_OUTPUTS, "without a picture"),
    Case(Mode.PARTIAL_OUTPUTS, "failed while drawing, in SaveImage"),
    Case(Mode.PICTURE_WRONG_SIZE, "size"),
    Case(Mode.PICTURE_TRUNCATED, "damaged"),
    Case(Mode.PICTURE_NO_PNG, "no PNG"),
    Case(Mode.PICTURE_HUGE, "too large"),
    Case(Mode.PICTURE_BROKEN_OFF, AT_DEADLINE),
    Case(Mode.PICTURE_DRIPS, AT_DEADLINE, seconds=0.2),
    # 14: failures that another server may not have.
    Case(Mode.OUT_OF_MEMORY, "out of memory"),
    Case(Mode.EXECUTION_ERROR, "failed while drawing, in SaveImage"),
    # 17: other clients use the server; and an old version of ComfyUI.
    Case(Mode.FOREIGN_JOBS, DRAWN),
    Case(Mode.OLD_SERVER, DRAWN),
]


def of(case: Case) -> str:
    return f"{case.mode.value}-{case.times}-{case.seconds}"


def check(expected: str, reason: str | None) -> None:
    """A reason contains no paths, addresses or tracebacks."""
    if expected is DRAWN:
        assert reason is None
    else:
        assert reason
        assert expected in reason
        assert READABLE.fullmatch(reason)


@pytest.mark.parametrize("case", CASES, ids=of)
async def test_a_fault_at_the_only_server(database_url: str, pair: Pair, case: Case) -> None:
    bad, _ = pair
    bad.fault(case.mode, times=case.times, seconds=case.seconds)
    async with services_with_servers(database_url, bad.url, dispatch=BRISK, painter=IMPATIENT) as services:
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        if case.alone == AT_DEADLINE:  # until then nothing is known
            await until(lambda: len(services.job_runner.servers) == 0)
            image = await image_of(services, image_id)
            services.store.clock = lambda: image.deadline
        check(case.alone, (await outcome(services, ann, image_id)).reason)


@pytest.mark.parametrize("case", CASES, ids=of)
async def test_a_fault_beside_a_healthy_server(database_url: str, pair: Pair, case: Case) -> None:
    bad, good = pair
    bad.fault(case.mode, times=case.times, seconds=case.seconds)
    async with services_with_servers(
        database_url, bad.url, good.url, dispatch=BRISK, painter=IMPATIENT
    ) as services:
        ann = await a_person(services, check_ins=1)
        async with held_back(services, good.url):
            image_id = await asked(services, ann)

            async def is_taken() -> bool:
                if services.job_runner.servers.all[bad.url].problems:
                    return True  # it is known to lack something, and gets no job beside a better one
                refused = await rows(services, "SELECT 1 FROM operations.job_leases WHERE excluded <> '{}'")
                return bool(refused) or (await image_of(services, image_id)).attempts == 1

            await until(is_taken)
        check(case.beside, (await outcome(services, ann, image_id)).reason)
