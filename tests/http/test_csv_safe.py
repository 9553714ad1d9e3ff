"""CSV that says what it says in any spreadsheet."""

import csv
import io

import pytest

from huajuan.http.csv_safe import csv_line


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_text_becomes_a_formula(text: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_line([text]), newline=""))
    assert row == [f"'{text}"]


def test_everything_else_stays_as_it_is() -> None:
    cells = ["a,b", 'say "a"', "two\nlines", "画卷", "a=b", -20, None, ""]
    (row,) = csv.reader(io.StringIO(csv_line(cells), newline=""))
    assert row == ["a,b", 'say "a"', "two\nlines", "画卷", "a=b", "-20", "", ""]
    assert csv_line([1, 2]) == "1,2\r\n"
