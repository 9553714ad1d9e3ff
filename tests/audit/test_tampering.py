"""Whatever is done to the rows of the log, the first bad position is named, and what kind of damage it is."""

import msgspec
import psycopg
import pytest

from huajuan.audit.connection import newest, stream_ids
from huajuan.audit.log_pages import log_pages
from huajuan.audit.signed_heads import Head, head_at
from huajuan.audit.verify import Claim, Verdict, verify
from tests.audit.conftest import EVENTS
from tests.audit.tampering import BEFORE_THE_FIRST, CUT_OFF, REWRITTEN, TAMPERINGS, tampering
from tests.event_store.studio import now

# Positions stand at the ends of pages, in their middle, and at both ends of the log.
PAGE_EVENTS = 7


def look(connection: psycopg.Connection, **heads: Head) -> Verdict:
    claim = Claim(str(stream_ids(connection).installation()))
    return verify(log_pages(connection, newest(connection)[0], PAGE_EVENTS), claim, heads)


def published(connection: psycopg.Connection, position: int) -> Head:
    query = "SELECT chain FROM log.huajuan_events WHERE notification_id = %s"
    row = connection.execute(query, (position,)).fetchone()
    assert row
    return head_at(stream_ids(connection).installation(), position, row[0], now())


def test_an_untouched_log_is_whole(log: str) -> None:
    with psycopg.connect(log) as connection:
        verdict = look(connection)
        assert (verdict.whole, verdict.position, verdict.damage) == (True, EVENTS, None)
        assert verdict.chain == newest(connection)[1].hex()


def test_an_empty_log_is_whole(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert (look(connection).whole, look(connection).position) == (True, 0)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_named(log: str, name: str) -> None:
    done = TAMPERINGS[name]
    with tampering(log) as connection:
        for position in range(1, EVENTS + 1 - done.room):
            with connection.transaction(force_rollback=True):
                done.do(connection, position)
                verdict = look(connection)
            assert not verdict.whole
            assert verdict.damage
            assert (verdict.damage.position, verdict.damage.kind) == (position + done.bad_at, done.kind)
            assert verdict.position == verdict.damage.position - 1


@pytest.mark.parametrize("position", [0, -7])
def test_a_row_before_the_first_is_found_and_the_first_is_not_blamed(log: str, position: int) -> None:
    with tampering(log) as connection:
        BEFORE_THE_FIRST(connection, position)
        damage = look(connection).damage
    assert damage
    assert (damage.position, damage.kind) == (position, "inserted")
    assert damage.says == "it does not belong here: the row after goes on from the row before"


def test_of_rows_before_the_first_the_lowest_is_named_and_the_last(log: str) -> None:
    with tampering(log) as connection:
        for position in (0, -7):
            BEFORE_THE_FIRST(connection, position)
        damage = look(connection).damage
    assert damage
    assert (damage.position, damage.kind) == (-7, "inserted")
    assert damage.says.startswith("the rows up to 0 do not belong here")


@pytest.mark.parametrize("left", [1, 7, 8, EVENTS - 1])
def test_a_log_cut_off_is_found_against_a_head(log: str, left: int) -> None:
    with tampering(log) as connection:
        head = published(connection, EVENTS)
        CUT_OFF(connection, left)
        assert look(connection).whole, "the chain alone cannot tell"
        verdict = look(connection, h=head)
    assert not verdict.whole
    assert verdict.heads[0].says == (
        f"truncated: the log ends at {left}, positions {left + 1} to {EVENTS} are gone"
    )


@pytest.mark.parametrize("position", [1, 6, 7, 8, 12, 18, 24])
def test_a_rewritten_chain_is_found_between_two_heads(log: str, position: int) -> None:
    marks = (6, 12, 18, 24)
    with tampering(log) as connection:
        heads = {str(mark): published(connection, mark) for mark in marks}
        REWRITTEN(connection, position)
        assert look(connection).whole, "the chain alone cannot tell"
        verdict = look(connection, **heads)
    assert not verdict.whole
    assert [finding.holds for finding in verdict.heads] == [mark < position for mark in marks]
    first_bad = next(finding for finding in verdict.heads if not finding.holds)
    low, high = max([0, *(m for m in marks if m < position)]) + 1, min(m for m in marks if m >= position)
    assert first_bad.says == f"rewritten: something between positions {low} and {high} is not what it was"


def test_a_head_behind_the_break_is_not_claimed_to_be_wrong(log: str) -> None:
    with tampering(log) as connection:
        heads = {"early": published(connection, 5), "late": published(connection, 20)}
        TAMPERINGS["topic"].do(connection, 10)
        verdict = look(connection, **heads)
    assert [(finding.name, finding.holds) for finding in verdict.heads] == [("early", True), ("late", None)]
    assert not verdict.whole


def test_a_head_of_another_log_proves_nothing(log: str) -> None:
    with psycopg.connect(log) as connection:
        head = msgspec.structs.replace(published(connection, 5), installation="another")
        verdict = look(connection, h=head)
    assert (verdict.whole, verdict.heads[0].says) == (False, "it is of another log")
