"""The chain walk ends at the first changed row, for random changes."""

import random
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from huajuan.audit.hash_chain import Page, Row, link
from huajuan.audit.verify import walk_chain

LENGTH = 12
CONTENTS = [random.Random(n).randbytes(40) for n in range(LENGTH)]
CHAINS = list(accumulate(CONTENTS, link, initial=b""))[1:]
ROWS = [Row(n, content, chain) for n, (content, chain) in enumerate(zip(CONTENTS, CHAINS, strict=True), 1)]
NUMBERS = st.integers(0, LENGTH - 1)
EDITS = st.tuples(st.sampled_from(["drop", "copy", "swap", "content", "link", "position"]), NUMBERS, NUMBERS)


def edited(edits: list[tuple[str, int, int]], *, renumbered: bool) -> list[Row]:
    rows = list(ROWS)
    for kind, one, other in edits:
        one, other = one % len(rows), other % len(rows)
        if kind == "drop" and len(rows) > 1:
            del rows[one]
        elif kind == "copy":
            rows.insert(other, rows[one])
        elif kind == "swap":
            rows[one], rows[other] = rows[other], rows[one]
        elif kind == "content":
            rows[one] = rows[one]._replace(content=rows[other].content)
        elif kind == "link":
            rows[one] = rows[one]._replace(chain=rows[other].chain)
        elif kind == "position":
            rows[one] = rows[one]._replace(position=rows[other].position)
    return [row._replace(position=n) for n, row in enumerate(rows, 1)] if renumbered else rows


@given(st.lists(EDITS, max_size=4), st.booleans(), st.integers(1, LENGTH))
def test_the_first_changed_row_is_found(
    edits: list[tuple[str, int, int]], renumbered: bool, page_rows: int
) -> None:
    rows = edited(edits, renumbered=renumbered)
    same = next((n for n, pair in enumerate(zip(rows, ROWS, strict=False)) if pair[0] != pair[1]), len(rows))
    same = min(same, LENGTH)
    pages = (Page.of(rows[n : n + page_rows]) for n in range(0, len(rows), page_rows))
    walked = walk_chain(pages, 0, b"", {3, 7})
    assert walked.position == same
    assert walked.chain == (CHAINS[same - 1] if same else b"")
    assert (walked.damage is None) == (same == len(rows))
    if walked.damage:
        assert walked.damage.position == same + 1
    assert walked.links == {0: b""} | {mark: CHAINS[mark - 1] for mark in (3, 7) if mark <= same}


def test_a_chain_without_rows_is_intact() -> None:
    walked = walk_chain(iter(()), 0, b"", set())
    assert (walked.position, walked.damage) == (0, None)
