"""The arithmetic of points: postings conserve points, and cover all events that the tables fold."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huajuan.audit.ledger import (
    POSTINGS,
    TOPICS,
    PointsAmounts,
    decode_amounts,
    decode_points_event,
    describe_difference,
    empty_pots,
    find_fault,
    post,
    unconserved,
)
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY
from tests.event_store.samples import load

AMOUNTS = st.builds(PointsAmounts, *(st.integers(0, 10_000) for _ in range(3)))


@given(st.lists(st.tuples(st.sampled_from(TOPICS), AMOUNTS)))
def test_random_events_conserve_points(events: list[tuple[str, PointsAmounts]]) -> None:
    pots = empty_pots()
    for topic, amounts in events:
        post(pots, topic, amounts)
    assert unconserved(pots) == 0


@pytest.mark.parametrize("projection", [POINT_BALANCES, POINT_HISTORY], ids=lambda p: p.name)
def test_all_folded_events_have_a_posting(projection: object) -> None:
    assert {kind.TOPIC for kind in projection.handlers} <= set(POSTINGS)  # type: ignore[attr-defined]


def test_stored_samples_with_points_are_decoded() -> None:
    for sample in load().values():
        if sample.topic in POSTINGS:
            assert decode_points_event(sample.state).timestamp
            assert msgspec.structs.asdict(decode_amounts(sample.state))


def test_an_erased_account_has_no_points_left() -> None:
    pots = empty_pots()
    post(pots, "account.checked_in", PointsAmounts(points=100))
    post(pots, "account.points_held", PointsAmounts(points=20))
    post(pots, "account.points_deducted", PointsAmounts(points=30, balance=50))
    post(pots, "account.erased", PointsAmounts(available=50, held=20))
    assert pots == [100, 0, 0, 0, 30, 70]
    assert find_fault(pots, PointsAmounts()) is None


def test_differences_are_described() -> None:
    assert describe_difference([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]) is None
    assert describe_difference(None, None) is None
    assert (
        describe_difference([1, 2, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]) == "available is 3 and the log makes it 2"
    )
    assert "table does not have" in str(describe_difference([0] * 6, None))
    assert "log does not have" in str(describe_difference(None, [0] * 6))
