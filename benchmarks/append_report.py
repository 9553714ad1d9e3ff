"""The append benchmark's table: rates, and ratios within the same round."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.measuring import Sample, Spread, brief

# The sample of each variant in one round.
Round = dict[str, Sample]
_HEADINGS = ("clients", "", "saves/s", "× stock", "× raw", "p50 × stock", "p99 × stock", "CPU × stock")


def table(stock: str, raw: str, rounds_by_clients: Mapping[int, Sequence[Round]]) -> str:
    """Medians of all rounds, with the lowest and highest value where they differ much."""
    rows = [
        row for clients, rounds in rounds_by_clients.items() for row in _rows(clients, rounds, stock, raw)
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    return "\n".join(_line(cells, widths) for cells in (_HEADINGS, *rows))


def _rows(clients: int, rounds: Sequence[Round], stock: str, raw: str) -> Iterator[tuple[str, ...]]:
    for name in rounds[0]:
        yield (
            str(clients),
            name,
            brief(Spread.of(samples[name].per_second for samples in rounds).median),
            str(_ratio(rounds, name, stock, "per_second")),
            str(_ratio(rounds, name, raw, "per_second")),
            *(str(_ratio(rounds, name, stock, part)) for part in ("p50", "p99", "cpu")),
        )


def _ratio(rounds: Sequence[Round], name: str, base: str, part: str) -> Spread | str:
    if name == base:
        return "1"
    return Spread.of(getattr(samples[name], part) / getattr(samples[base], part) for samples in rounds)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names are left-aligned, numbers right-aligned."""
    placed = [
        cell.ljust(width) if number == 1 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(placed)
