"""Text typed about a person, and avatar addresses, are readable until the person is erased.

The same holds for logs of earlier versions, which have them in plain text.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
import pytest

from huajuan.audit.connection import AuditError, begin_snapshot, open_read_only
from huajuan.audit.past import read_timeline
from huajuan.audit.replay import Replay
from huajuan.commands.accounts import set_avatar
from huajuan.commands.erase_account import erase_account
from huajuan.commands.moderation import adjust_points, ban_account, unban_account
from huajuan.http.event_messages import sentence_of
from huajuan.http.services import Services
from huajuan.projections.queries.points import point_changes_of
from huajuan.projections.rebuild.rebuild import rebuild_tables
from huajuan.projections.rebuild.session import RebuildLimits
from huajuan.projections.registry import PROJECTIONS
from tests.commands.people import a_person, account_of
from tests.event_store.helpers import is_whole, log_rows
from tests.projections.gallery import read_all_tables
from tests.services import services_on

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
Typing = Callable[[Services, UUID], Awaitable[None]]


async def by_commands(services: Services, ann: UUID) -> None:
    await set_avatar(services.store, ann, URL)
    await set_avatar(services.store, ann, "")
    await adjust_points(services.store, ann, 5, WHY)
    await adjust_points(services.store, ann, -3, WHY)
    await ban_account(services.store, ann, WHY)
    await unban_account(services.store, ann, WHY)


async def by_an_earlier_version(services: Services, ann: UUID) -> None:
    """Appends the rows that an earlier version stored."""
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
    with psycopg.connect(services.settings.database_url or "") as connection:
        connection.execute(_APPEND.encode(), rows)


class Told(NamedTuple):
    sentences: list[str]
    replayed: list[str | None]
    agrees: bool | None


async def told(services: Services, dsn: str, ann: UUID) -> Told:
    await services.read_your_writes.wait_for(log_rows(dsn)[-1][0], *PROJECTIONS)
    with open_read_only(dsn) as connection:
        begin_snapshot(connection)
        found = read_timeline(connection, ann, _END, 100)[::-1]
        replay = Replay(connection, ann)
        reasons = [entry.reason for entry in replay.entries() if entry.what in _TYPED]
        return Told([sentence_of(one).en for one in found], reasons, replay.outcome().agrees)


_TYPED = ("points_granted", "points_deducted")


@pytest.mark.parametrize("typing", [by_commands, by_an_earlier_version])
async def test_texts_are_readable_until_the_person_is_erased(database_url: str, typing: Typing) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann = await a_person(services)
        await typing(services, ann)
        before = await told(services, database_url, ann)
        assert [line for line in before.sentences if line in READABLE] == READABLE
        assert (before.replayed, before.agrees) == ([WHY, WHY], True)
        assert [
            c.reason for c in await point_changes_of(services.tables, services.streams, ann, _END, 9)
        ] == [
            WHY,
            WHY,
        ]
        assert (await account_of(services, ann)).balance == 2
        await erase_account(services.store, services.erasures, ann)
        after = await told(services, database_url, ann)
        assert [line for line in after.sentences if line in ERASED] == ERASED
        assert "alice" not in str(after)
        assert (after.replayed, after.agrees) == (["(erased)", "(erased)"], True)
        changes = await point_changes_of(services.tables, services.streams, ann, _END, 9)
        assert [c.reason for c in changes] == ["forfeited", None, None]
    assert is_whole(database_url)


@pytest.mark.parametrize("typing", [by_commands, by_an_earlier_version])
async def test_a_rebuild_after_an_erasure_equals_the_live_tables(database_url: str, typing: Typing) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann, ben = await a_person(services), await a_person(services, "ben")
        for person in (ann, ben):
            await typing(services, person)
            await set_avatar(services.store, person, URL)
        await told(services, database_url, ann)
        await erase_account(services.store, services.erasures, ann)
        await told(services, database_url, ann)
        live = read_all_tables(database_url)
        report = await asyncio.to_thread(
            rebuild_tables, database_url, PROJECTIONS, RebuildLimits(), lambda _: None
        )
        assert (report.differences, report.compared) == ([], [p.name for p in PROJECTIONS])
        assert read_all_tables(database_url) == live
    assert str(live).count(URL) == 1


async def test_an_avatar_of_an_earlier_version_is_read(database_url: str) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann = await a_person(services)
        await by_an_earlier_version(services, ann)
        await set_avatar(services.store, ann, URL)
        found = await account_of(services, ann)
        assert (found.avatar_url, type(found.avatar_url)) == (URL, str)


async def test_a_reason_moved_to_another_event_is_reported(database_url: str) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann = await a_person(services)
        first, second = [(await adjust_points(services.store, ann, 5, WHY)).position for _ in range(2)]
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE log.huajuan_events SET state = "
            "(SELECT state FROM log.huajuan_events WHERE notification_id = %s) WHERE notification_id = %s",
            (first, second),
        )
    with (
        open_read_only(database_url) as connection,
        pytest.raises(AuditError, match=f"at position {second} cannot"),
    ):
        list(Replay(connection, ann).entries())
