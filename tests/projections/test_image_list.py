"""Query plans on 100,000 images: any page by time or by likes is read from an index."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from huajuan.projections.history import HISTORY
from huajuan.projections.queries.images import _RANDOM, DrawnImage, ImageFilter, build_query, cursor_after
from huajuan.projections.rebuild.schemas import create_read_tables
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS

IMAGES, PEOPLE, PAGE = 100_000, 500, 50
SOMEBODY = UUID(int=7)
FILL = f"""
SET session_replication_role = replica;
INSERT INTO {USERS.schema}.users (account_id, id, username, email, avatar_url, create_time)
SELECT lpad(to_hex(n), 32, '0')::uuid, n, 'user' || n, '', '', now() FROM generate_series(1, %(people)s) n;
INSERT INTO {HISTORY.schema}.history
    (image_id, account_id, prompt, words, width, height, steps, sampling_method, seed, generation_id,
     likecount, id, picture, create_time, hidden)
SELECT gen_random_uuid(), lpad(to_hex(1 + n %% %(people)s), 32, '0')::uuid, p, p, 200, 200, 30, 'DDIM', '7',
       n, n %% 97, n, n || '.png', '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 second', false
  FROM generate_series(1, %(images)s) n, LATERAL (SELECT 'picture number ' || n AS p) words;
"""


@pytest.fixture(scope="module")
def gallery(module_database_url: str) -> Iterator[psycopg.Connection]:
    create_read_tables(module_database_url, PROJECTIONS)
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        filled = psycopg.ClientCursor(connection).mogrify(FILL, {"people": PEOPLE, "images": IMAGES})
        connection.execute(filled.encode())
        connection.execute(f"VACUUM ANALYZE {HISTORY.schema}.history, {USERS.schema}.users")
        yield connection


def image(n: int) -> DrawnImage:
    time = datetime.fromtimestamp(datetime(2026, 1, 1, tzinfo=UTC).timestamp() + n, UTC)
    return DrawnImage(n, "user1", n % 97, f"{n}.png", time, "p", 200, 200, 30, "DDIM", "7", n - 1)


def plan(gallery: psycopg.Connection, wanted: ImageFilter) -> dict[str, Any]:
    query, values = build_query(wanted, PAGE)
    cursor = gallery.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + query.encode(), values)
    ((found,),) = cursor.fetchall()
    top: dict[str, Any] = (found if isinstance(found, list) else json.loads(found))[0]["Plan"]
    return top


def nodes(top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield top
    for below in top.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.parametrize("sort", ["time", "likes"])
@pytest.mark.parametrize("descending", [False, True], ids=["asc", "desc"])
@pytest.mark.parametrize("whose", [None, SOMEBODY], ids=["everybody", "one user"])
@pytest.mark.parametrize("after", [None, IMAGES // 2 // PEOPLE * PEOPLE + 6], ids=["first page", "middle"])
def test_a_page_is_read_from_an_index(
    gallery: psycopg.Connection, sort: Any, descending: bool, whose: UUID | None, after: int | None
) -> None:
    wanted = ImageFilter(sort=sort, descending=descending, account_id=whose)
    if after is not None:
        wanted = ImageFilter(
            sort=sort, descending=descending, account_id=whose, after=cursor_after(image(after), wanted)
        )
    found = list(nodes(plan(gallery, wanted)))
    read = [n for n in found if n.get("Relation Name") == "history"]
    assert [n["Node Type"] for n in read] == ["Index Scan"]
    assert (
        sum(n["Actual Rows"] * n["Actual Loops"] + n.get("Rows Removed by Filter", 0) for n in read)
        <= PAGE + 1
    )
    assert not any("Sort" in n["Node Type"] for n in found)


@pytest.mark.parametrize("words", ["number 4242", "99999", "umber 77777"])
def test_a_word_search_uses_the_index_of_letter_pairs(gallery: psycopg.Connection, words: str) -> None:
    top = plan(gallery, ImageFilter(prompt=words))
    kinds = {n["Node Type"] for n in nodes(top)}
    assert "Bitmap Index Scan" in kinds
    assert top["Actual Rows"] >= 1


def test_a_username_filter_uses_the_index_of_the_account(gallery: psycopg.Connection) -> None:
    found = list(nodes(plan(gallery, ImageFilter(username="user8"))))
    scanned = sum(n["Actual Rows"] * n["Actual Loops"] for n in found if n.get("Relation Name") == "history")
    assert scanned <= IMAGES // PEOPLE


def test_random_images_are_read_from_the_index(gallery: psycopg.Connection) -> None:
    values = {"account": SOMEBODY, "start": UUID(int=2**127), "most": 100}
    cursor = gallery.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + _RANDOM.encode(), values)
    found = list(nodes(cursor.fetchall()[0][0][0]["Plan"]))
    read = [n for n in found if n.get("Relation Name") == "history"]
    assert {n["Node Type"] for n in read} == {"Index Scan"}
    assert sum(n["Actual Rows"] * n["Actual Loops"] for n in read) <= 200
