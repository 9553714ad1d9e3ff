"""`verify` finds the first bad position and the kind of damage for each kind of tampering."""

import msgspec
import psycopg
import pytest

from huajuan.audit.connection import read_log_head, stream_ids
from huajuan.audit.hash_chain import log_pages
from huajuan.audit.verify import Head, Verdict, VerificationTarget, make_head, verify
from tests.audit.conftest import EVENTS
from tests.audit.tampering import BEFORE_THE_FIRST, CUT_OFF, REWRITTEN, TAMPERINGS, tampering
from tests.event_store.helpers import now

# With this size, positions are at both ends of pages, in their middle, and at both ends of the log.
PAGE_EVENTS = 7


def look(connection: psycopg.Connection, **heads: Head) -> Verdict:
    target = VerificationTarget(str(stream_ids(connection).installation()))
    return verify(log_pages(connection, read_log_head(connection)[0], PAGE_EVENTS), target, heads)


def published(connection: psycopg.Connection, position: int) -> Head:
    query = "SELECT chain FROM log.huajuan_events WHERE notification_id = %s"
    row = connection.execute(query, (position,)).fetchone()
    assert row
    return make_head(stream_ids(connection).installation(), position, row[0], now())


def test_an_untouched_log_is_whole(log: str) -> None:
    with psycopg.connect(log) as connection:
        verdict = look(connection)
        assert (verdict.whole, verdict.position, verdict.damage) == (True, EVENTS, None)
        assert verdict.chain == read_log_head(connection)[1].hex()


def test_an_empty_log_is_whole(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert (look(connection).whole, look(connection).position) == (True, 0)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_diagnosed(log: str, name: str) -> None:
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
def test_a_row_before_position_1_is_inserted(log: str, position: int) -> None:
    with tampering(log) as connection:
        BEFORE_THE_FIRST(connection, position)
        damage = look(connection).damage
    assert damage
    assert (damage.position, damage.kind) == (position, "inserted")
    assert damage.says == "it does not belong here: the row after follows from the row before"


def test_the_lowest_of_several_rows_before_position_1_is_reported(log: str) -> None:
    with tampering(log) as connection:
        for position in (0, -7):
            BEFORE_THE_FIRST(connection, position)
        damage = look(connection).damage
    assert damage
    assert (damage.position, damage.kind) == (-7, "inserted")
    assert damage.says.startswith("the rows up to 0 do not belong here")


@pytest.mark.parametrize("left", [1, 7, 8, EVENTS - 1])
def test_a_truncated_log_is_found_with_a_head(log: str, left: int) -> None:
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
    assert first_bad.says == f"rewritten: an event between positions {low} and {high} was changed"


def test_a_head_after_the_break_is_not_compared(log: str) -> None:
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
    assert (verdict.whole, verdict.heads[0].says) == (False, "it belongs to another log")
