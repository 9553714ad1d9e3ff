"""The arithmetic of points: every posting conserves, and it knows every event that the tables know."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huajuan.audit.ledger import (
    POSTINGS,
    TOPICS,
    Amounts,
    amounts_of,
    difference,
    fact_of,
    fault_of,
    nothing,
    post,
    unconserved,
)
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY
from tests.event_store.samples import load

AMOUNTS = st.builds(Amounts, *(st.integers(0, 10_000) for _ in range(3)))


@given(st.lists(st.tuples(st.sampled_from(TOPICS), AMOUNTS)))
def test_whatever_happens_points_are_conserved(events: list[tuple[str, Amounts]]) -> None:
    pots = nothing()
    for topic, amounts in events:
        post(pots, topic, amounts)
    assert unconserved(pots) == 0


@pytest.mark.parametrize("projection", [POINT_BALANCES, POINT_HISTORY], ids=lambda p: p.name)
def test_what_the_tables_fold_has_a_posting(projection: object) -> None:
    assert {kind.TOPIC for kind in projection.touches} <= set(POSTINGS)  # type: ignore[attr-defined]


def test_every_stored_sample_with_points_can_be_read() -> None:
    for sample in load().values():
        if sample.topic in POSTINGS:
            assert fact_of(sample.state).timestamp
            assert msgspec.structs.asdict(amounts_of(sample.state))


def test_an_erased_account_has_nothing_left() -> None:
    pots = nothing()
    post(pots, "account.checked_in", Amounts(points=100))
    post(pots, "account.points_held", Amounts(points=20))
    post(pots, "account.points_deducted", Amounts(points=30, balance=50))
    post(pots, "account.erased", Amounts(available=50, held=20))
    assert pots == [100, 0, 0, 0, 30, 70]
    assert fault_of(pots, Amounts()) is None


def test_differences_name_what_differs() -> None:
    assert difference([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]) is None
    assert difference(None, None) is None
    assert difference([1, 2, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]) == "available is 3 and the log makes it 2"
    assert "table knows nothing" in str(difference([0] * 6, None))
    assert "log knows nothing" in str(difference(None, [0] * 6))
