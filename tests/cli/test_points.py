"""`points`: what an operator gives or takes is on record; whatever goes wrong is one line."""

import pytest

from tests.cli.conftest import Type
from tests.cli.test_admin import registered
from tests.event_store.studio import log_rows


def test_points_are_given_and_taken(type_in: Type, database_url: str) -> None:
    registered(database_url, "ann")
    assert type_in("points", "ann", "+50", "--reason", "sorry") == (0, "ann has 50 points now\n", "")
    assert type_in("points", "ann", "-20", "--reason", "a mistake").out == "ann has 30 points now\n"
    assert type_in("points", "ann", "-40", "--reason", "theft", "--force").out == "ann has -10 points now\n"
    topics = [topic for (topic,) in log_rows(database_url, "topic")][1:]
    assert topics == ["account.points_granted", "account.points_deducted", "account.points_deducted"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("nobody", "+5", "--reason", "x"), "there is no account nobody"),
        (("ann", "-5", "--reason", "x"), "ann has fewer points than that; --force takes them all the same"),
        (("ann", "+0", "--reason", "x"), "points to give or take are 1 to 1,000,000"),
        (("ann", "+5", "--reason", "a\tb"), "a reason is one line of up to 500 characters"),
        (("ann", "+5", "--reason", " "), "a reason is one line of up to 500 characters"),
        (
            ("ann", "+5", "--reason", "x" * 10_000),
            "the reason is too long: 10,000 characters, and up to 500 go on record",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    type_in: Type, database_url: str, words: tuple[str, ...], why: str
) -> None:
    registered(database_url, "ann")
    assert type_in("points", *words) == (1, "", f"huajuan: {why}\n")


@pytest.mark.parametrize("change", ["+٥", "+1_0", "１", "5.0", "9" * 30])
def test_a_number_is_written_in_plain_digits(
    type_in: Type, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    with pytest.raises(SystemExit):
        type_in("points", "ann", change, "--reason", "x")
    assert f"{change!r} is no whole number in the digits 0 to 9" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["50", "0", "007"])
def test_a_number_without_a_sign_gives_nothing(
    type_in: Type, capsys: pytest.CaptureFixture[str], database_url: str, change: str
) -> None:
    registered(database_url, "ann")
    with pytest.raises(SystemExit) as refused:
        type_in("points", "ann", change, "--reason", "x")
    assert refused.value.code == 1
    assert f"has no sign: +{change} gives, -{change} takes" in capsys.readouterr().err
    assert [topic for (topic,) in log_rows(database_url, "topic")] == ["account.registered"]
