"""`log.append` makes no gap: it refuses a save without predecessor, and the saves that depend on it."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID, uuid4

import psycopg
import pytest

from huajuan.event_store.errors import Conflict
from huajuan.event_store.writer import EventStoreLimits, Writer
from tests.event_store.helpers import is_whole, log_rows
from tests.event_store.test_append import row

A, B, C = (UUID(int=n) for n in (1, 2, 3))
Rows = Sequence[tuple[UUID, int]]
_APPEND = "SELECT base, refused FROM log.append(%b::int[], %b::uuid[], %b::bigint[], %b::text[], %b::bytea[])"


def append(connection: psycopg.Connection, *saves: Rows) -> set[int]:
    """Returns the numbers of the refused saves."""
    rows = [(number, stream, version) for number, save in enumerate(saves) for stream, version in save]
    numbers, streams, versions = (list(column) for column in zip(*rows, strict=True))
    values = (numbers, streams, versions, ["t"] * len(rows), [b"{}"] * len(rows))
    answer = connection.execute(_APPEND, values).fetchone()
    assert answer
    return set(answer[1] or ())


CASES: dict[str, tuple[tuple[Rows, ...], set[int]]] = {
    "the next version": (([(A, 3)],), set()),
    "a gap": (([(A, 4)],), {0}),
    "a taken version": (([(A, 2)],), {0}),
    "a first version": (([(B, 1)],), set()),
    "a first version of zero": (([(B, 0), (B, 1)],), set()),
    "a new stream that does not begin": (([(B, 2)],), {0}),
    "rows of a save that leave one out": (([(A, 3), (A, 5)],), {0}),
    "rows of a save in the wrong order": (([(A, 4), (A, 3)],), {0}),
    "a version twice in a save": (([(A, 3), (A, 3)],), {0}),
    "one after the other": (([(A, 3)], [(A, 4)], [(A, 5)]), set()),
    "one after the other, others between": (([(A, 3), (B, 1)], [(C, 1)], [(B, 2), (A, 4)]), set()),
    "the successor comes first": (([(A, 4)], [(A, 3)]), {0}),
    "what depends on a refused one": (([(A, 3), (B, 2)], [(A, 4), (C, 1)], [(C, 2)], [(C, 1)]), {0, 1, 2}),
    "what depends on a refused one, through a later row": (([(C, 1), (A, 9)], [(C, 2)], [(A, 3)]), {0, 1}),
    "two that claim one version": (([(A, 3)], [(B, 1)], [(A, 3)]), {2}),
    "one that claims what a refused one claimed": (([(A, 3), (B, 7)], [(A, 3)]), {0}),
    "all of them": (([(A, 7)], [(B, 9)], [(A, 8)]), {0, 1, 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_save_without_predecessor_is_refused_and_the_rest_is_appended(database_url: str, case: str) -> None:
    saves, refused = CASES[case]
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert append(connection, [(A, 1), (A, 2)]) == set()
        assert append(connection, *saves) == refused
    appended = [row for number, save in enumerate(saves) if number not in refused for row in save]
    stored = log_rows(database_url)
    assert [(stream, version) for _, stream, version in stored] == [(A, 1), (A, 2), *appended]
    assert [position for position, _, _ in stored] == list(range(1, len(stored) + 1))
    assert is_whole(database_url)


class Model:
    """A model: a save is appended if each of its rows is the next version of its stream."""

    def __init__(self) -> None:
        self.heads: dict[UUID, int] = defaultdict(int)

    def append(self, save: Rows) -> bool:
        heads = self.heads.copy()
        for stream, version in save:
            if version != heads[stream] + 1:
                return False
            heads[stream] = version
        self.heads = heads
        return True


def a_save(chance: random.Random, heads: dict[UUID, int]) -> Rows:
    """A random save that usually can be appended after the previous ones."""
    rows = []
    for stream in chance.sample([A, B, C, UUID(int=4), UUID(int=5)], chance.randint(1, 3)):
        heads[stream] += chance.choices([0, 1, 2], [1, 12, 1])[0]
        rows += [(stream, max(1, heads[stream]))]
        while chance.random() < 0.3:
            heads[stream] += 1
            rows += [(stream, heads[stream])]
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_has_the_result_of_its_saves_in_sequence(database_url: str, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(60):
            hoped = model.heads.copy()
            batch = [a_save(chance, hoped) for _ in range(chance.randint(1, 8))]
            due = {number for number, save in enumerate(batch) if not model.append(save)}
            assert append(connection, *batch) == due, batch
    stored: dict[UUID, int] = defaultdict(int)
    for _, stream, version in log_rows(database_url):
        assert version == stored[stream] + 1
        stored[stream] = version
    assert stored == {stream: head for stream, head in model.heads.items() if head}
    assert is_whole(database_url)


async def test_the_writer_reports_a_conflict_and_appends_the_others(database_url: str) -> None:
    writer = Writer(database_url, EventStoreLimits())
    await writer.open()
    lost = uuid4()
    saves = [[row()], [row(lost, 22)], [row(), row(lost, 23)], [row()]]
    results = await asyncio.gather(*map(writer.append, saves), return_exceptions=True)
    await writer.close()
    assert [type(result) for result in results] == [list, Conflict, Conflict, list]
    assert len(log_rows(database_url)) == 2
