"""The claim of an e-mail address, and its valid forms."""

from uuid import UUID

import pytest

from huajuan.domain.email_claim import EmailClaim, check_email, fold_email
from huajuan.domain.refusals import EmailMalformed, EmailMissing, EmailTaken
from tests.story import Story

CLAIM, ANN, BEN = UUID(int=1), UUID(int=2), UUID(int=3)


def claimed_by_ann() -> Story[EmailClaim]:
    return Story(lambda: EmailClaim.begin(CLAIM, ANN))


def test_a_claim_by_another_account_is_refused() -> None:
    claimed_by_ann().refuses(EmailTaken, lambda c: c.claim(BEN))


def test_a_claim_by_the_holder_appends_no_event() -> None:
    claimed_by_ann().when(lambda c: c.claim(ANN)).then()


def test_a_released_address_can_be_claimed_by_another_account() -> None:
    claimed_by_ann().given(lambda c: c.release()).when(lambda c: c.claim(BEN)).then(
        ("email_claim.claimed_again", {"account_id": BEN})
    )


def test_a_claim_is_released_once() -> None:
    claimed_by_ann().when(lambda c: c.release()).then(("email_claim.released", {}))
    claimed_by_ann().given(lambda c: c.release()).when(lambda c: c.release()).then()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@Example.ORG", "ann@example.org"),
        ("stra\u00dfe@example.org", "STRASSE@example.org"),
        ("e\u0301@b.cc", "\u00c9@b.cc"),
    ],
)
def test_spellings_of_one_address_fold_to_one(one: str, other: str) -> None:
    assert fold_email(one) == fold_email(other)


@pytest.mark.parametrize(
    "email", ["a@b.cc", "3@qq.com", "用户@例子.广告", "a.b+c@d-e.f.org", "x" * 64 + "@b.cc"]
)
def test_a_valid_address_is_accepted(email: str) -> None:
    check_email(email)


@pytest.mark.parametrize(
    "email",
    [
        "a", "a@", "@b.cc", "a@b", "a@b.", "a@.b.cc", "a b@c.dd", "a@b@c.dd", "a@b..cc", "a\x00@b.cc",
        "a@b.cc\n", "x" * 65 + "@b.cc", "a@" + "b" * 250 + ".cc",
    ],
)  # fmt: skip
def test_a_malformed_address_is_refused(email: str) -> None:
    with pytest.raises(EmailMalformed):
        check_email(email)


def test_an_empty_address_is_refused_as_missing() -> None:
    with pytest.raises(EmailMissing):
        check_email("")
