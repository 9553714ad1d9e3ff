"""Who may use an e-mail address, and what one looks like."""

from uuid import UUID

import pytest

from huajuan.domain.email_claim import EmailClaim, check_email, fold_email
from huajuan.domain.refusals import EmailMalformed, EmailMissing, EmailTaken
from tests.story import Story

CLAIM, ANN, BEN = UUID(int=1), UUID(int=2), UUID(int=3)


def claimed_by_ann() -> Story[EmailClaim]:
    return Story(lambda: EmailClaim.begin(CLAIM, ANN))


def test_another_account_cannot_claim_it() -> None:
    claimed_by_ann().refuses(EmailTaken, lambda c: c.claim(BEN))


def test_its_own_account_claims_it_in_silence() -> None:
    claimed_by_ann().when(lambda c: c.claim(ANN)).then()


def test_once_released_anybody_claims_it() -> None:
    claimed_by_ann().given(lambda c: c.release()).when(lambda c: c.claim(BEN)).then(
        ("email_claim.claimed_again", {"account_id": BEN})
    )


def test_it_is_released_once() -> None:
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
def test_an_address_that_can_be_one_is_accepted(email: str) -> None:
    check_email(email)


@pytest.mark.parametrize(
    "email",
    [
        "a", "a@", "@b.cc", "a@b", "a@b.", "a@.b.cc", "a b@c.dd", "a@b@c.dd", "a@b..cc", "a\x00@b.cc",
        "a@b.cc\n", "x" * 65 + "@b.cc", "a@" + "b" * 250 + ".cc",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_one_is_refused(email: str) -> None:
    with pytest.raises(EmailMalformed):
        check_email(email)


def test_no_address_is_its_own_refusal() -> None:
    with pytest.raises(EmailMissing):
        check_email("")
