"""`points`: adjustments are recorded; each error is one line."""

import pytest

from tests.cli.conftest import Type
from tests.cli.test_admin import registered
from tests.event_store.helpers import log_rows


def test_points_are_added_and_deducted(type_in: Type, database_url: str) -> None:
    registered(database_url, "ann")
    assert type_in("points", "ann", "+50", "--reason", "sorry") == (0, "ann has 50 points now\n", "")
    assert type_in("points", "ann", "-20", "--reason", "a mistake").out == "ann has 30 points now\n"
    assert type_in("points", "ann", "-40", "--reason", "theft", "--force").out == "ann has -10 points now\n"
    topics = [topic for (topic,) in log_rows(database_url, "topic")][1:]
    assert topics == ["account.points_granted", "account.points_deducted", "account.points_deducted"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nobody", "+5", "--reason", "x"), "there is no account nobody"),
        (("ann", "-5", "--reason", "x"), "ann has fewer points than that; --force deducts them anyway"),
        (("ann", "+0", "--reason", "x"), "the number of points must be 1 to 1,000,000"),
        (("ann", "+5", "--reason", "a\tb"), "a reason is one line of up to 500 characters"),
        (("ann", "+5", "--reason", " "), "a reason is one line of up to 500 characters"),
        (
            ("ann", "+5", "--reason", "x" * 10_000),
            "the reason is too long: 10,000 characters, and the maximum is 500",
        ),
    ],
)
def test_errors_of_adjustments_are_one_line(
    type_in: Type, database_url: str, arguments: tuple[str, ...], why: str
) -> None:
    registered(database_url, "ann")
    assert type_in("points", *arguments) == (1, "", f"huajuan: {why}\n")


@pytest.mark.parametrize("change", ["+٥", "+1_0", "１", "5.0", "9" * 30])
def test_a_number_is_written_in_plain_digits(
    type_in: Type, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    with pytest.raises(SystemExit):
        type_in("points", "ann", change, "--reason", "x")
    assert f"{change!r} is not a whole number in the digits 0 to 9" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["50", "0", "007"])
def test_a_number_without_a_sign_is_rejected(
    type_in: Type, capsys: pytest.CaptureFixture[str], database_url: str, change: str
) -> None:
    registered(database_url, "ann")
    with pytest.raises(SystemExit) as refused:
        type_in("points", "ann", change, "--reason", "x")
    assert refused.value.code == 1
    assert f"has no sign: +{change} adds points, -{change} deducts them" in capsys.readouterr().err
    assert [topic for (topic,) in log_rows(database_url, "topic")] == ["account.registered"]
