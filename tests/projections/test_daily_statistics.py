"""The read table `daily_statistics`: its folds, and that it is filled from the first event."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

from huajuan.domain.account import Account
from huajuan.domain.aggregate import EventMetadata, with_event_metadata
from huajuan.event_store.log_reader import RecordedEvent
from huajuan.postgres.statements import Statements
from huajuan.projections.daily_statistics import DAILY_STATISTICS, DayRow, days
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.registry import PROJECTIONS
from tests.event_store.samples import a_life
from tests.projections.gallery import SECONDS_MAX, append_history, fold_events, projecting, read_table

NEW_YEARS_EVE = date(2026, 12, 31)


def rows_of(events: list[Any]) -> dict[date, DayRow]:
    recorded = [RecordedEvent(position, event) for position, event in enumerate(events, 1)]
    return fold_events(DAILY_STATISTICS, recorded)


def registered_at(moment: datetime) -> Any:
    with with_event_metadata(EventMetadata(moment)):
        account = Account.register(uuid4(), "ann", "ann@example.org", "hash")
    (event,) = account.collect_events()
    return event


def test_the_counts_of_a_day() -> None:
    (row,) = rows_of(a_life()[:-1]).values()
    assert row == DayRow(date(2026, 11, 24), users=2, check_ins=1, pictures=2, issued=110, held=40, spent=20)


def test_a_day_is_a_utc_day() -> None:
    midnight = datetime(2027, 1, 1, tzinfo=UTC)
    beijing = timezone(timedelta(hours=8))
    moments = [
        midnight - timedelta(microseconds=1), midnight, datetime(2027, 1, 1, 7, 59, tzinfo=beijing),
    ]  # fmt: skip
    rows = rows_of([registered_at(moment) for moment in moments])
    assert {day: row.users for day, row in rows.items()} == {NEW_YEARS_EVE: 2, date(2027, 1, 1): 1}


async def test_it_is_filled_from_the_first_event_of_an_older_log(database_url: str) -> None:
    older = tuple(p for p in PROJECTIONS if p is not DAILY_STATISTICS)
    async with projecting(database_url, older) as (store, projector):
        position = await append_history(store)
        assert await projector.wait_for_position(position, *older, seconds_max=SECONDS_MAX)
    async with projecting(database_url) as (store, projector):
        assert await projector.wait_for_position(position, DAILY_STATISTICS, seconds_max=SECONDS_MAX)
        tables = ReadTables(Statements(store._pool, SECONDS_MAX))
        found = await days(tables, date.min, date.max, 10)
        assert await days(tables, date.min, date(2000, 1, 1), 10) == []
    totals = [
        sum(getattr(row, column) for row in found)
        for column in ("users", "check_ins", "pictures", "issued", "held", "spent")
    ]
    # Each of five people checked in, had two pictures drawn and lost a third.
    assert totals == [5, 5, 10, 500, 5 * 60, 5 * 40]
    assert [tuple(getattr(row, c) for c in DAILY_STATISTICS.table.columns) for row in found] == read_table(
        database_url, DAILY_STATISTICS
    )


def test_points_of_an_older_log_are_capped() -> None:
    with with_event_metadata(EventMetadata(datetime(2026, 11, 24, tzinfo=UTC))):
        account = Account.register(uuid4(), "ann", "ann@example.org", "hash")
        account._grant(2**62, 2**62, "welcome")
        account._grant(2**62, 2**63, "welcome")
        account._check_in(date(2026, 11, 24), 100, 2**63 + 100)
    (row,) = rows_of(list(account.collect_events())).values()
    assert (row.issued, row.check_ins) == (2**63 - 1, 1)
