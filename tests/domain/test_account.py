"""The account aggregate: points, check-ins, credentials, bans, approval and erasure."""

from datetime import date
from uuid import UUID

import pytest

from huajuan.domain.account import Account, require_account
from huajuan.domain.refusals import (
    AlreadyBanned,
    AlreadyCheckedIn,
    BalanceOutOfRange,
    NoPointsHeld,
    NotBanned,
    NotEnoughPoints,
    NotPending,
    NotRegistered,
    PointsInvalid,
)
from huajuan.domain.rules import ADJUSTMENT_MAX, BALANCE_MAX
from tests.story import Story

ANN = UUID(int=1)
PICTURE = UUID(int=2)
OTHER_PICTURE = UUID(int=3)
MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


def ann() -> Story[Account]:
    return Story(lambda: Account.register(ANN, "ann", "ann@example.org", "hash"))


def checked_in(account: Account) -> None:
    account.check_in(MONDAY)


def holding(account: Account) -> None:
    account.hold(PICTURE, 20)


def test_a_new_account_has_a_name_and_no_points() -> None:
    account = ann().aggregate
    assert (account.id, account.username, account.email, account.balance) == (
        ANN,
        "ann",
        "ann@example.org",
        0,
    )


def test_events_carry_time_actor_and_correlation_id() -> None:
    story = Story(lambda: Account.register(ANN, "ann", "a@b.c", "hash"), actor=ANN)
    story.when(checked_in)
    last = story.events[-1]
    assert (last.actor, last.correlation_id, last.timestamp.hour) == (ANN, "story", 12)


def test_checking_in_pays_100_points() -> None:
    ann().when(checked_in).then(
        ("account.checked_in", {"day": MONDAY, "points": 100, "balance": 100}),
    )


def test_checking_in_on_the_next_day_pays_again() -> None:
    ann().given(checked_in).when(lambda a: a.check_in(TUESDAY)).then(
        ("account.checked_in", {"day": TUESDAY, "points": 100, "balance": 200}),
    )


def test_a_second_check_in_on_the_same_day_is_refused() -> None:
    story = ann().given(checked_in)
    story.refuses(AlreadyCheckedIn, checked_in)
    assert story.aggregate.balance == 100


def test_a_check_in_for_an_earlier_day_is_refused() -> None:
    ann().given(lambda a: a.check_in(TUESDAY)).refuses(AlreadyCheckedIn, checked_in)


def test_without_a_daily_limit_every_check_in_pays() -> None:
    ann().given(checked_in).when(lambda a: a.check_in(MONDAY, once_a_day=False)).then(
        ("account.checked_in", {"day": MONDAY, "points": 100, "balance": 200}),
    )


def test_welcome_points_are_granted_with_their_reason() -> None:
    ann().when(lambda a: a.grant(40, "welcome")).then(
        ("account.points_granted", {"points": 40, "balance": 40, "reason": "welcome"}),
    )


def test_granting_zero_points_appends_no_event() -> None:
    ann().when(lambda a: a.grant(0, "welcome")).then()


def test_a_hold_takes_the_points_out_of_the_balance() -> None:
    story = ann().given(checked_in).when(holding)
    story.then(("account.points_held", {"image_id": PICTURE, "points": 20, "balance": 80}))
    assert (story.aggregate.balance, story.aggregate.held) == (80, {PICTURE: 20})


def test_a_hold_beyond_the_balance_is_refused() -> None:
    ann().refuses(NotEnoughPoints, holding)


def test_a_hold_of_the_whole_balance_is_granted() -> None:
    story = ann().given(checked_in).when(lambda a: a.hold(PICTURE, 100))
    assert story.aggregate.balance == 0


def test_a_settled_hold_is_spent() -> None:
    story = ann().given(checked_in, holding).when(lambda a: a.settle(PICTURE))
    story.then(("account.points_settled", {"image_id": PICTURE, "points": 20}))
    assert (story.aggregate.balance, story.aggregate.held) == (80, {})


def test_returned_points_are_added_to_the_balance() -> None:
    story = ann().given(checked_in, holding).when(lambda a: a.return_points(PICTURE, "lost"))
    story.then(
        ("account.points_returned", {"image_id": PICTURE, "points": 20, "balance": 100, "reason": "lost"}),
    )
    assert (story.aggregate.balance, story.aggregate.held) == (100, {})


def test_a_hold_is_settled_or_returned_once() -> None:
    story = ann().given(checked_in, holding, lambda a: a.settle(PICTURE))
    story.refuses(NoPointsHeld, lambda a: a.settle(PICTURE))
    story.refuses(NoPointsHeld, lambda a: a.return_points(PICTURE, "lost"))


def test_points_held_for_one_image_do_not_pay_for_another() -> None:
    ann().given(checked_in, holding).refuses(NoPointsHeld, lambda a: a.settle(OTHER_PICTURE))


def test_a_new_password_increments_the_credential() -> None:
    story = ann().when(lambda a: a.change_password("new"))
    story.then(("account.password_changed", {"password_hash": "new"}))
    assert (story.aggregate.password_hash, story.aggregate.credential) == ("new", 2)


def test_unchanged_email_and_avatar_append_no_event() -> None:
    ann().when(lambda a: a.change_email("new@example.org")).then(
        ("account.email_changed", {"email": "new@example.org"})
    )
    ann().when(lambda a: a.change_email("ann@example.org")).then()
    ann().when(lambda a: a.change_avatar("https://example.org/a.png")).then(
        ("account.avatar_changed", {"url": "https://example.org/a.png"})
    )
    ann().when(lambda a: a.change_avatar("")).then()


def test_an_erased_account_forfeits_its_points_and_counts_as_missing() -> None:
    story = ann().given(checked_in, holding).when(Account.erase)
    story.then(("account.erased", {"available": 80, "held": 20}))
    gone = story.aggregate
    assert (gone.username, gone.email, gone.password_hash) == (None, None, None)
    assert (gone.balance, gone.held, gone.credential) == (0, {}, 2)
    with pytest.raises(NotRegistered):
        require_account(gone)


def test_points_are_deducted_below_zero_only_if_forced() -> None:
    story = ann().given(checked_in).when(lambda a: a.deduct(70, "a mistake"))
    story.then(("account.points_deducted", {"points": 70, "balance": 30, "reason": "a mistake"}))
    story.refuses(NotEnoughPoints, lambda a: a.deduct(31, "a mistake"))
    story.when(lambda a: a.deduct(31, "a mistake", forced=True))
    assert story.aggregate.balance == -1
    story.refuses(NotEnoughPoints, holding)


def test_an_account_is_banned_and_unbanned_in_turn() -> None:
    story = ann().when(lambda a: a.ban("spam"))
    story.then(("account.banned", {"reason": "spam"}))
    story.refuses(AlreadyBanned, lambda a: a.ban("spam"))
    story.when(lambda a: a.unban("forgiven")).then(("account.unbanned", {"reason": "forgiven"}))
    story.refuses(NotBanned, lambda a: a.unban("forgiven"))


def pending(account: Account) -> None:
    account.request_approval(40)


def test_the_approval_grants_the_welcome_points() -> None:
    story = ann().when(pending)
    story.then(("account.approval_requested", {"welcome_points": 40}))
    assert (story.aggregate.is_pending, story.aggregate.balance) == (True, 0)
    story.when(lambda a: a.approve("a colleague")).then(
        ("account.approved", {"reason": "a colleague"}),
        ("account.points_granted", {"points": 40, "balance": 40, "reason": "welcome"}),
    )
    assert not story.aggregate.is_pending


def test_an_approval_without_welcome_points_grants_none() -> None:
    story = ann().given(lambda a: a.request_approval(0)).when(lambda a: a.approve("a colleague"))
    story.then(("account.approved", {"reason": "a colleague"}))


def test_a_rejected_account_is_erased() -> None:
    story = ann().given(pending).when(lambda a: a.reject("spam"))
    story.then(("account.rejected", {"reason": "spam"}), ("account.erased", {"available": 0, "held": 0}))
    assert (story.aggregate.is_erased, story.aggregate.is_pending, story.aggregate.email) == (
        True,
        False,
        None,
    )


def test_only_a_pending_account_can_be_approved_or_rejected() -> None:
    approved = ann().given(pending, lambda a: a.approve("a colleague"))
    for story in (ann(), approved, ann().given(pending, Account.erase)):
        story.refuses(NotPending, lambda a: a.approve("again"))
        story.refuses(NotPending, lambda a: a.reject("again"))


def rich(balance: int) -> Story[Account]:
    """An account as a log from before the bound may contain it."""
    if balance > 0:
        return ann().given(lambda a: a._grant(balance, balance, "welcome"))
    return ann().given(lambda a: a._deduct(-balance, balance, "theft"))


def test_after_a_reset_an_account_may_check_in_on_any_day() -> None:
    later = date(2027, 12, 28)
    story = ann().given(lambda a: a.check_in(later))
    story.refuses(AlreadyCheckedIn, checked_in)
    story.when(lambda a: a.reset_check_in("the clock was wrong"))
    story.then(("account.check_in_reset", {"reason": "the clock was wrong"}))
    story.when(checked_in).then(("account.checked_in", {"day": MONDAY, "points": 100, "balance": 200}))
    story.refuses(AlreadyCheckedIn, checked_in)


@pytest.mark.parametrize("points", [ADJUSTMENT_MAX + 1, 2**63, 10**19, -1])
def test_one_event_grants_or_deducts_a_bounded_number_of_points(points: int) -> None:
    ann().refuses(PointsInvalid, lambda a: a.grant(points, "welcome"))
    ann().refuses(PointsInvalid, lambda a: a.deduct(points, "theft", forced=True))


def test_no_balance_exceeds_the_maximum() -> None:
    story = rich(BALANCE_MAX - 100).when(checked_in)
    assert story.aggregate.balance == BALANCE_MAX
    story.refuses(BalanceOutOfRange, lambda a: a.check_in(TUESDAY))
    story.refuses(BalanceOutOfRange, lambda a: a.grant(1, "sorry"))


def test_held_points_count_towards_the_maximum() -> None:
    story = rich(BALANCE_MAX).when(holding)
    story.refuses(BalanceOutOfRange, lambda a: a.grant(20, "sorry"))
    story.when(lambda a: a.return_points(PICTURE, "lost"))
    assert story.aggregate.balance == BALANCE_MAX


def test_no_account_owes_more_than_the_maximum() -> None:
    story = rich(1 - BALANCE_MAX).when(lambda a: a.deduct(1, "theft", forced=True))
    story.refuses(BalanceOutOfRange, lambda a: a.deduct(1, "theft", forced=True))


def test_a_balance_above_the_maximum_can_be_spent_and_deducted() -> None:
    story = rich(2 * BALANCE_MAX).given(holding, lambda a: a.deduct(5, "a mistake"))
    assert story.aggregate.balance == 2 * BALANCE_MAX - 25
    story.refuses(BalanceOutOfRange, checked_in)
