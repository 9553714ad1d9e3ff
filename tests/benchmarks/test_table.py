"""The benchmark's table: ratios within one round, and goals."""

from benchmarks.measuring import Spread
from benchmarks.table import Goal, Row, table


def test_a_ratio_is_within_one_round() -> None:
    row = Row.of("fast", "slow", [10, 40, 30], [10, 20, 10], "/s", Goal(least=2))
    assert row.ratio == Spread(2, 1, 3)
    assert row.verdict == "yes"


def test_a_missed_goal_is_reported() -> None:
    for goal in (Goal(least=2.1), Goal(most=1.9)):
        assert Row.of("a", "b", [2], [1], "s", goal).verdict == "**no**"
    assert Row.of("a", "b", [2], [1], "s").verdict == ""


def test_it_is_markdown_with_units() -> None:
    rows = [
        Row.of("a rate", "another", [2000], [1000], "/s", Goal(least=2)),
        Row.of("a time", "another", [0.003], [0.002], "s", Goal(most=2)),
    ]
    head, rule, rate, time = table(rows).splitlines()
    assert head.startswith("| what   | against |")
    assert set(rule) == set("|- ")
    assert [cell.strip() for cell in rate.split("|")[2:-1]] == [
        *("another", "2,000/s", "1,000/s", "2.00 [2.00–2.00]", "≥ 2", "yes"),
    ]
    assert "| 3.0 ms  | 2.0 ms  |" in time
