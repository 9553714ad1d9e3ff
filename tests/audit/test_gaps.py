"""A gap in a stream is found by `verify`, by the watch in the background and by whoever asks for the past."""

from uuid import UUID

import pytest

from huajuan.audit.connection import newest, reading, stream_ids
from huajuan.audit.errors import AuditGap
from huajuan.audit.events import Reader
from huajuan.audit.gap_watch import GapWatch
from huajuan.audit.gaps import first_gap
from huajuan.audit.log_pages import log_pages
from huajuan.audit.verify import Claim, Verdict, verify
from huajuan.postgres.pool import open_pool
from huajuan.postgres.statements import Statements
from tests.event_store.cutting import cut, tear
from tests.event_store.studio import check_in, log_rows, opened, register


async def lived(dsn: str) -> list[UUID]:
    async with opened(dsn) as store:
        people = [await register(store, f"p{n}") for n in range(4)]
        for day in range(6):
            for person in people:
                await check_in(store, person, day)
    return people


def verified(dsn: str) -> Verdict:
    with reading(dsn) as connection:
        claim = Claim(str(stream_ids(connection).installation()))
        pages = log_pages(connection, newest(connection)[0])
        return verify(pages, claim, {}, gap=lambda: first_gap(connection))


def first_of(dsn: str, page_events: int) -> int | None:
    with reading(dsn) as connection:
        gap = first_gap(connection, page_events=page_events)
    return gap.position if gap else None


@pytest.mark.parametrize("page_events", [1, 2, 5, 1_000])
async def test_a_gap_is_found_wherever_the_pages_end(database_url: str, page_events: int) -> None:
    people = await lived(database_url)
    assert first_of(database_url, page_events) is None
    for person, missing in ((people[0], (5,)), (people[2], (2, 3)), (people[3], (7,))):
        tear(database_url, person, missing)
    (due,) = [at for at, stream, version in log_rows(database_url) if (stream, version) == (people[2], 4)]
    assert first_of(database_url, page_events) == due


async def test_a_stream_without_its_beginning_has_a_gap(database_url: str) -> None:
    people = await lived(database_url)
    tear(database_url, people[1], (1,))
    (due,) = [at for at, stream, version in log_rows(database_url) if (stream, version) == (people[1], 2)]
    assert first_of(database_url, 1_000) == due


async def test_verify_names_the_stream_though_the_chain_holds(database_url: str) -> None:
    people = await lived(database_url)
    assert verified(database_url).whole
    tear(database_url, people[1], (3, 4))
    verdict = verified(database_url)
    assert (verdict.whole, verdict.position) == (False, len(log_rows(database_url)))
    assert verdict.damage
    assert verdict.damage.kind == "gap"
    assert verdict.damage.says.startswith(f"stream {people[1]} goes on with version 5 after 2")


async def test_the_watch_looks_at_the_whole_log_and_then_at_what_is_new(database_url: str) -> None:
    people = await lived(database_url)
    async with open_pool(database_url, 2) as pool:
        statements = Statements(pool, 5)
        watch = GapWatch(statements)
        await watch.look()
        assert list(watch.problems()) == []
        tear(database_url, people[0], (2,))  # before what is looked at from here on: another start finds it
        cut(database_url, 12)
        await watch.look()
        assert list(watch.problems()) == []
        again = GapWatch(statements)
        await again.look()
        (problem,) = again.problems()
        assert (problem.name, problem.blocking) == ("stream_gap", False)
        async with opened(database_url) as store:
            for day in range(10, 13):
                await check_in(store, people[2], day)
        last = len(log_rows(database_url))
        tear(database_url, people[2], (log_rows(database_url)[-2][2],))
        await watch.look()
        assert watch.gap == last - 1


async def test_the_past_behind_a_gap_is_not_told(database_url: str) -> None:
    people = await lived(database_url)
    tear(database_url, people[1], (3,))
    with reading(database_url) as connection:
        reader, last = Reader(connection), newest(connection)[0]
        assert len(list(reader.stream(people[0], last))) == 7
        with pytest.raises(AuditGap, match=r"position \d+; verify names it"):
            list(reader.stream(people[1], last))
