"""The report of a run: the table, the method, and the machine."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.ground import Options
from benchmarks.noise import Noise, machine
from benchmarks.table import Row, table

TITLE = """# Performance

Written by `./run bench --write`; do not edit. Figures of one machine mean little on another, so each is a
ratio against something named, measured in the same run: rounds are interleaved, and every round begins with
another variant.
"""
HOW = """\
The server, its comparators, the load and Postgres share the machine; loopback only, one worker unless said,
everything durable. HTTP is measured from a process of its own with keep-alive connections, each of which
sends the next request when it has the whole reply, under a token of its own. The bare handlers run under the
same uvicorn settings, with as many connections to Postgres. *ours* and *theirs* are medians; the ratio is the
median of the rounds' ratios [lowest–highest]. The stock runner of a rebuild is so slow that it is measured
once.
"""
PROSE_COLUMNS_MAX = 120


@dataclass(frozen=True)
class Report:
    """All rows; `busiest_load` is a share of a core, the other figures are seconds."""

    rows: Sequence[Row]
    options: Options
    noise: Noise
    busiest_load: float
    seconds_of_parts: Mapping[str, float]
    seconds: float

    @property
    def short(self) -> str:
        """For the terminal."""
        return f"{machine()}\n\n{table(self.rows)}\n\n{self._method}"

    @property
    def page(self) -> str:
        """For the docs."""
        method = "\n".join(map(wrap, self._method.splitlines()))
        head = wrap(f"{TITLE}\n{datetime.now(UTC).date()}: {machine()}.")
        return f"{head}\n\n{table(self.rows)}\n\n{wrap(HOW)}\n\n{method}\n"

    @property
    def _method(self) -> str:
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds_of_parts.items())
        busy = f" The load process was busy for at most {self.busiest_load:.0%} of a core."
        load = busy if self.busiest_load else ""
        return (
            f"{self.options.rounds} rounds of {self.options.seconds:g} s; "
            f"{self.seconds / 60:.1f} minutes in all ({parts}).{load}\n{self.noise}"
        )


def wrap(text: str) -> str:
    """Fills each paragraph."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        textwrap.fill(each, PROSE_COLUMNS_MAX, break_long_words=False, break_on_hyphens=False)
        for each in paragraphs
    )
