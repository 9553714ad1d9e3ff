"""The read table `generations`: its folds, and the query plans of its queries."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from huajuan.projections import generations
from huajuan.projections.generations import GENERATIONS, fold_generation
from huajuan.projections.rebuild.schemas import create_read_tables
from huajuan.projections.registry import PROJECTIONS
from tests.event_store.samples import ANN, AT, LOST, PICTURE, SWEPT, UNWANTED
from tests.projections.test_folds import HISTORY_EVENTS, position_of, rows_of

JOBS, PAGE = 20_000, 50
FILL = f"""
SET session_replication_role = replica;
INSERT INTO {GENERATIONS.schema}.generations
    (image_id, account_id, id, asked_at, points, status, attempts, started_at, ended_at, charged, drawn_id,
     hidden)
SELECT gen_random_uuid(), lpad(to_hex(n % 10), 32, '0')::uuid, n, now(), 20,
       CASE WHEN n % 3 = 0 THEN 'succeeded' ELSE 'failed' END, 1, now(), now() + n * interval '1 second', 20,
       CASE WHEN n % 3 = 0 THEN n END, false
  FROM generate_series(1, 20000) n;
ANALYZE {GENERATIONS.schema}.generations;
"""


def test_a_job_is_queued_then_running_then_succeeded_and_charged() -> None:
    own = [recorded for recorded in HISTORY_EVENTS if recorded.event.originator_id == PICTURE]
    shown = []
    for n in range(1, len(own) + 1):
        row = fold_generation(None, own[:n])
        assert row
        shown.append((row.status, row.attempts, row.charged, row.picture, row.hidden))
    assert shown == [
        ("queued", 0, 0, None, False),
        ("running", 1, 0, None, False),
        ("succeeded", 1, 20, "p.png", False),
        ("succeeded", 1, 20, "p.png", True),
        ("succeeded", 1, 20, "p.png", False),
    ]


def test_ids_are_the_positions_of_request_and_drawing() -> None:
    row = rows_of(GENERATIONS)[PICTURE]
    assert (row.account_id, row.asked_at, row.started_at, row.ended_at) == (ANN, AT, AT, AT)
    assert row.id == position_of("image.requested", PICTURE)
    assert row.drawn_id == position_of("image.drawn", PICTURE)


@pytest.mark.parametrize(
    ("job", "status", "reason"), [(LOST, "failed", "lost"), (UNWANTED, "cancelled", "cancelled")]
)
def test_a_job_without_an_image_has_a_reason_and_is_not_charged(job: UUID, status: str, reason: str) -> None:
    row = rows_of(GENERATIONS)[job]
    assert (row.status, row.reason, row.charged, row.ended_at, row.drawn_id) == (status, reason, 0, AT, None)


def test_an_erased_image_has_no_job() -> None:
    assert set(rows_of(GENERATIONS)) == {PICTURE, LOST, UNWANTED}
    assert SWEPT not in rows_of(GENERATIONS)


def test_folding_one_stream_gives_the_row_of_the_table() -> None:
    for job, row in rows_of(GENERATIONS).items():
        assert (
            fold_generation(
                None,
                [
                    r
                    for r in HISTORY_EVENTS
                    if r.event.originator_id == job and type(r.event) in GENERATIONS.handlers
                ],
            )
            == row
        )


@pytest.fixture(scope="module")
def filled(module_database_url: str) -> Iterator[psycopg.Connection]:
    create_read_tables(module_database_url, PROJECTIONS)
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute(FILL.encode())
        yield connection


@pytest.mark.parametrize(
    ("query", "rows_max"),
    [
        (generations._ONE, 1),
        (generations._PAGE, PAGE),
        (generations._PAGE_OF_STATUS, PAGE),
        (generations._SERVICE_SECONDS, PAGE),
    ],
    ids=["one", "page", "page of a status", "service seconds"],
)  # fmt: skip
def test_a_query_reads_only_the_rows_that_it_returns(
    filled: psycopg.Connection, query: str, rows_max: int
) -> None:
    values = {"account": UUID(int=8), "id": 108, "before": JOBS // 2, "most": PAGE, "status": "succeeded"}
    ((found,),) = filled.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + query.encode(), values).fetchall()
    read = list(nodes((found if isinstance(found, list) else json.loads(found))[0]["Plan"]))
    (scan,) = [node for node in read if node.get("Relation Name") == "generations"]
    assert scan["Node Type"] == "Index Scan"
    assert not any("Sort" in node["Node Type"] for node in read)
    assert 1 <= scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) <= rows_max


def test_the_mean_is_that_of_the_last_images(filled: psycopg.Connection) -> None:
    (row,) = filled.execute(generations._SERVICE_SECONDS.encode(), {"most": 3}).fetchall()
    assert row == (19_995.0,)


def nodes(top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield top
    for below in top.get("Plans", ()):
        yield from nodes(below)
