"""What people typed about a person, avatars' addresses too, is read until the person is erased and then by nobody.

The same holds for logs of earlier versions, which have it in plain.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
import pytest

from huajuan.audit.connection import hold_still, reading
from huajuan.audit.errors import AuditError
from huajuan.audit.replay import Replay
from huajuan.audit.timeline import happenings
from huajuan.commands.adjust_points import adjust_points
from huajuan.commands.ban_account import ban_account
from huajuan.commands.erase_account import erase_account
from huajuan.commands.set_avatar import set_avatar
from huajuan.commands.unban_account import unban_account
from huajuan.http.event_messages import sentence_of
from huajuan.http.services import Desk
from huajuan.projections.point_history import changes_of
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.rebuild.rebuild import rebuild
from huajuan.projections.registry import PROJECTIONS
from tests.commands.people import a_person, account_of
from tests.event_store.studio import is_whole, log_rows
from tests.projections.gallery import all_tables
from tests.services import desk_on

QUIET = {"erase_every_seconds": 3600.0, "sweep_every_seconds": 3600.0}
URL, WHY = "https://example.org/alice.png", "alice asked"
_APPEND = "SELECT log.append(%s::int[], %s::uuid[], %s::bigint[], %s::text[], %s::bytea[])"
_END = 2**63 - 1
READABLE = [
    f"changed the avatar to {URL}",
    "took the avatar away",
    f"was granted 5 points, balance 5: {WHY}",
    f"lost 3 points, balance 2: {WHY}",
    f"was banned: {WHY}",
    f"was unbanned: {WHY}",
]
ERASED = [
    *["changed the avatar or took it away (erased)"] * 2,
    "was granted 5 points, balance 5: (erased)",
    "lost 3 points, balance 2: (erased)",
    "was banned: (erased)",
    "was unbanned: (erased)",
]
Typing = Callable[[Desk, UUID], Awaitable[None]]


async def by_commands(desk: Desk, ann: UUID) -> None:
    await set_avatar(desk.store, ann, URL)
    await set_avatar(desk.store, ann, "")
    await adjust_points(desk.store, ann, 5, WHY)
    await adjust_points(desk.store, ann, -3, WHY)
    await ban_account(desk.store, ann, WHY)
    await unban_account(desk.store, ann, WHY)


async def by_an_earlier_version(desk: Desk, ann: UUID) -> None:
    """The rows that it would have stored."""
    facts: list[tuple[str, dict[str, Any]]] = [
        ("avatar_changed", {"url": URL}),
        ("avatar_changed", {"url": ""}),
        ("points_granted", {"points": 5, "balance": 5, "reason": WHY}),
        ("points_deducted", {"points": 3, "balance": 2, "reason": WHY}),
        ("banned", {"reason": WHY}),
        ("unbanned", {"reason": WHY}),
    ]
    about = {"timestamp": datetime.now(UTC), "actor": None, "correlation_id": None}
    states = [msgspec.json.encode(about | fact) for _, fact in facts]
    topics, count = [f"account.{topic}" for topic, _ in facts], len(facts)
    rows = ([0] * count, [ann] * count, list(range(2, 2 + count)), topics, states)
    with psycopg.connect(desk.settings.database_url or "") as connection:
        connection.execute(_APPEND.encode(), rows)


class Told(NamedTuple):
    sentences: list[str]
    replayed: list[str | None]
    agrees: bool | None


async def told(desk: Desk, dsn: str, ann: UUID) -> Told:
    await desk.show(log_rows(dsn)[-1][0], *PROJECTIONS)
    with reading(dsn) as connection:
        hold_still(connection)
        found = happenings(connection, ann, _END, 100)[::-1]
        replay = Replay(connection, ann)
        reasons = [entry.reason for entry in replay.entries() if entry.what in _TYPED]
        return Told([sentence_of(one).en for one in found], reasons, replay.outcome().agrees)


_TYPED = ("points_granted", "points_deducted")


@pytest.mark.parametrize("typing", [by_commands, by_an_earlier_version])
async def test_words_are_read_until_the_person_is_erased(database_url: str, typing: Typing) -> None:
    async with desk_on(database_url, **QUIET) as desk:
        ann = await a_person(desk)
        await typing(desk, ann)
        before = await told(desk, database_url, ann)
        assert [line for line in before.sentences if line in READABLE] == READABLE
        assert (before.replayed, before.agrees) == ([WHY, WHY], True)
        assert [c.reason for c in await changes_of(desk.tables, desk.streams, ann, _END, 9)] == [WHY, WHY]
        assert (await account_of(desk, ann)).balance == 2
        await erase_account(desk.store, desk.erasures, ann)
        after = await told(desk, database_url, ann)
        assert [line for line in after.sentences if line in ERASED] == ERASED
        assert "alice" not in str(after)
        assert (after.replayed, after.agrees) == (["(erased)", "(erased)"], True)
        changes = await changes_of(desk.tables, desk.streams, ann, _END, 9)
        assert [c.reason for c in changes] == ["forfeited", None, None]
    assert is_whole(database_url)


@pytest.mark.parametrize("typing", [by_commands, by_an_earlier_version])
async def test_a_rebuild_after_an_erasure_equals_the_tables_that_saw_the_words(
    database_url: str, typing: Typing
) -> None:
    async with desk_on(database_url, **QUIET) as desk:
        ann, ben = await a_person(desk), await a_person(desk, "ben")
        for person in (ann, ben):
            await typing(desk, person)
            await set_avatar(desk.store, person, URL)
        await told(desk, database_url, ann)
        await erase_account(desk.store, desk.erasures, ann)
        await told(desk, database_url, ann)
        live = all_tables(database_url)
        report = await asyncio.to_thread(rebuild, database_url, PROJECTIONS, RebuildLimits(), lambda _: None)
        assert (report.differences, report.compared) == ([], [p.name for p in PROJECTIONS])
        assert all_tables(database_url) == live
    assert str(live).count(URL) == 1


async def test_an_avatar_of_an_earlier_version_is_ones_avatar(database_url: str) -> None:
    async with desk_on(database_url, **QUIET) as desk:
        ann = await a_person(desk)
        await by_an_earlier_version(desk, ann)
        await set_avatar(desk.store, ann, URL)
        found = await account_of(desk, ann)
        assert (found.avatar_url, type(found.avatar_url)) == (URL, str)


async def test_a_reason_that_was_moved_to_another_event_is_named(database_url: str) -> None:
    async with desk_on(database_url, **QUIET) as desk:
        ann = await a_person(desk)
        first, second = [(await adjust_points(desk.store, ann, 5, WHY)).position for _ in range(2)]
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE log.huajuan_events SET state = (SELECT state FROM log.huajuan_events WHERE notification_id = %s) "
            "WHERE notification_id = %s",
            (first, second),
        )
    with reading(database_url) as connection, pytest.raises(AuditError, match=f"at position {second} cannot"):
        list(Replay(connection, ann).entries())
