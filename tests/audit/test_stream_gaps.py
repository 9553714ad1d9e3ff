"""A gap in a stream is found by `verify`, by the background check, and by reads of the past."""

from uuid import UUID

import pytest

from huajuan.audit.connection import AuditGap, open_read_only, read_log_head, stream_ids
from huajuan.audit.event_lookup import EventReader
from huajuan.audit.hash_chain import log_pages
from huajuan.audit.stream_gaps import GapWatch, find_first_gap
from huajuan.audit.verify import Verdict, VerificationTarget, verify
from huajuan.postgres.connect import open_pool
from huajuan.postgres.statements import Statements
from tests.event_store.helpers import check_in, log_rows, opened, register
from tests.event_store.log_damage import cut, tear


async def lived(dsn: str) -> list[UUID]:
    async with opened(dsn) as store:
        people = [await register(store, f"p{n}") for n in range(4)]
        for day in range(6):
            for person in people:
                await check_in(store, person, day)
    return people


def verified(dsn: str) -> Verdict:
    with open_read_only(dsn) as connection:
        target = VerificationTarget(str(stream_ids(connection).installation()))
        pages = log_pages(connection, read_log_head(connection)[0])
        return verify(pages, target, {}, find_gap=lambda: find_first_gap(connection))


def first_of(dsn: str, page_events: int) -> int | None:
    with open_read_only(dsn) as connection:
        gap = find_first_gap(connection, page_events=page_events)
    return gap.position if gap else None


@pytest.mark.parametrize("page_events", [1, 2, 5, 1_000])
async def test_a_gap_is_found_with_any_page_size(database_url: str, page_events: int) -> None:
    people = await lived(database_url)
    assert first_of(database_url, page_events) is None
    for person, missing in ((people[0], (5,)), (people[2], (2, 3)), (people[3], (7,))):
        tear(database_url, person, missing)
    (due,) = [at for at, stream, version in log_rows(database_url) if (stream, version) == (people[2], 4)]
    assert first_of(database_url, page_events) == due


async def test_a_stream_without_its_first_event_has_a_gap(database_url: str) -> None:
    people = await lived(database_url)
    tear(database_url, people[1], (1,))
    (due,) = [at for at, stream, version in log_rows(database_url) if (stream, version) == (people[1], 2)]
    assert first_of(database_url, 1_000) == due


async def test_verify_reports_a_gap_with_an_intact_chain(database_url: str) -> None:
    people = await lived(database_url)
    assert verified(database_url).whole
    tear(database_url, people[1], (3, 4))
    verdict = verified(database_url)
    assert (verdict.whole, verdict.position) == (False, len(log_rows(database_url)))
    assert verdict.damage
    assert verdict.damage.kind == "gap"
    assert verdict.damage.says.startswith(f"stream {people[1]} goes on with version 5 after 2")


async def test_the_watch_checks_the_whole_log_and_then_new_events(database_url: str) -> None:
    people = await lived(database_url)
    async with open_pool(database_url, 2) as pool:
        statements = Statements(pool, 5)
        watch = GapWatch(statements)
        await watch.check()
        assert list(watch.problems()) == []
        tear(
            database_url, people[0], (2,)
        )  # before the positions that are checked from here on: only another start finds it
        cut(database_url, 12)
        await watch.check()
        assert list(watch.problems()) == []
        again = GapWatch(statements)
        await again.check()
        (problem,) = again.problems()
        assert (problem.name, problem.blocking) == ("stream_gap", False)
        async with opened(database_url) as store:
            for day in range(10, 13):
                await check_in(store, people[2], day)
        last = len(log_rows(database_url))
        tear(database_url, people[2], (log_rows(database_url)[-2][2],))
        await watch.check()
        assert watch.gap == last - 1


async def test_a_stream_with_a_gap_is_not_read(database_url: str) -> None:
    people = await lived(database_url)
    tear(database_url, people[1], (3,))
    with open_read_only(database_url) as connection:
        reader, last = EventReader(connection), read_log_head(connection)[0]
        assert len(list(reader.stream(people[0], last))) == 7
        with pytest.raises(AuditGap, match=r"position \d+; run verify"):
            list(reader.stream(people[1], last))
