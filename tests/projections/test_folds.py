"""The folds as pure functions: a sample history, and the rows that it folds to."""

from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import asdict

from huajuan.event_store.log_reader import RecordedEvent
from huajuan.projections.engine.projection import Projection
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY, fold_words
from huajuan.projections.likes import LIKES
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.users import USERS
from tests.event_store.samples import ANN, AT, BEN, FAVORITE, LIKE, LOST, PICTURE, SWEPT, a_life
from tests.projections.gallery import fold_events

HISTORY_EVENTS = [RecordedEvent(position, event) for position, event in enumerate(a_life()[:-1], 1)]


def rows_of(projection: Projection, events: list[RecordedEvent] = HISTORY_EVENTS) -> dict[Any, Any]:
    return fold_events(projection, events)


def position_of(topic: str, stream: UUID) -> int:
    return next(p for p, e in HISTORY_EVENTS if (e.TOPIC, e.originator_id) == (topic, stream))


def test_a_user_has_the_newest_email_and_avatar() -> None:
    row = rows_of(USERS)[ANN]
    assert asdict(row) == {
        "account_id": ANN, "id": 1, "username": "ann", "email": "new@example.org",
        "avatar_url": "https://example.org/a.png", "create_time": AT,
    }  # fmt: skip


def test_point_balances_account_for_every_point_granted() -> None:
    row = rows_of(POINT_BALANCES)[ANN]
    assert (row.granted, row.available, row.held, row.spent) == (105, 85, 0, 20)


def test_point_balances_conserve_points_after_every_single_event() -> None:
    for n in range(1, len(HISTORY_EVENTS) + 1):
        for row in rows_of(POINT_BALANCES, HISTORY_EVENTS[:n]).values():
            assert row.granted == row.available + row.held + row.spent + row.deducted + row.forfeited


def test_point_history_has_a_row_for_each_change_of_the_balance() -> None:
    rows = [row for _, row in sorted(rows_of(POINT_HISTORY).items()) if row.account_id == ANN]
    assert [(r.change, r.balance, r.reason, r.image_id) for r in rows] == [
        (5, 5, None, None),
        (100, 105, "check_in", None),
        (-20, 85, "held", PICTURE),
        (-20, 65, "held", LOST),
        (20, 85, "lost", LOST),
    ]


def test_point_history_sums_to_the_balance() -> None:
    for account, balance in rows_of(POINT_BALANCES).items():
        lines = [row for row in rows_of(POINT_HISTORY).values() if row.account_id == account]
        assert sum(line.change for line in lines) == balance.available


def test_an_erased_account_has_no_personal_data_and_its_points_are_forfeited() -> None:
    user, balance = rows_of(USERS)[BEN], rows_of(POINT_BALANCES)[BEN]
    assert (user.username, user.email, user.avatar_url) == (None, None, "")
    assert (balance.granted, balance.available, balance.deducted, balance.forfeited) == (5, 0, 3, 2)
    last = max((row for row in rows_of(POINT_HISTORY).values() if row.account_id == BEN), key=lambda r: r.id)
    assert (last.change, last.balance, last.reason) == (-2, 0, "forfeited")


def test_an_erased_image_has_no_personal_data() -> None:
    row = rows_of(HISTORY)[SWEPT]
    assert (row.prompt, row.words, row.seed, row.picture, row.hidden) == (None, None, None, None, True)


def test_an_image_has_the_position_of_its_drawing_as_id() -> None:
    rows = rows_of(HISTORY)
    assert set(rows) == {PICTURE, SWEPT}
    row = rows[PICTURE]
    assert (row.id, row.picture, row.create_time) == (position_of("image.drawn", PICTURE), "p.png", AT)
    assert (row.prompt, row.width, row.height, row.steps) == ("sun", 220, 200, 30)
    assert (row.sampling_method, row.seed, row.likecount) == ("DDIM", "7", 1)
    assert row.generation_id == position_of("image.requested", PICTURE)


def test_an_unfinished_image_has_no_id() -> None:
    before = [r for r in HISTORY_EVENTS if r.event.TOPIC == "image.requested"]
    assert [row.id for row in rows_of(HISTORY, before).values()] == [None] * 4


def test_a_like_given_again_counts_once() -> None:
    likes = [r for r in HISTORY_EVENTS if r.event.TOPIC.startswith("like.")]
    others = [r for r in HISTORY_EVENTS if not r.event.TOPIC.startswith("like.")]
    counts = [rows_of(HISTORY, others + likes[:n])[PICTURE].likecount for n in range(4)]
    assert counts == [0, 1, 0, 1]
    rows = [rows_of(LIKES, likes[:n]) for n in range(4)]
    assert [len(found) for found in rows] == [0, 1, 0, 1]
    assert rows[3][LIKE].id == likes[2].position


def test_a_favorite_has_the_id_and_time_of_its_last_addition() -> None:
    (row,) = rows_of(FAVORITES).values()
    assert (row.account_id, row.image_id, row.favorited_time) == (ANN, PICTURE, AT)
    assert row.id == position_of("favorite.added_again", FAVORITE)


@pytest.mark.parametrize(
    ("text", "folded"), [("SUN", "sun"), ("ＳＵＮ", "sun"), ("Straße", "strasse"), ("ｶﾞ", "ガ")]
)
def test_words_are_folded_to_one_case_and_width(text: str, folded: str) -> None:
    assert fold_words(text) == folded


def test_a_deleted_image_is_hidden_until_it_is_restored() -> None:
    rows = rows_of(HISTORY)
    assert (rows[PICTURE].hidden, rows[SWEPT].hidden) == (False, True)
    until_deleted = [r for r in HISTORY_EVENTS if r.event.TOPIC != "image.restored"]
    deleted = rows_of(HISTORY, until_deleted)[PICTURE]
    assert (deleted.hidden, deleted.likecount, deleted.id) == (True, 1, rows[PICTURE].id)
