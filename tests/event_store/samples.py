"""A stored sample of each version of each event. `python -m tests.event_store.samples` adds missing samples.

Never change a sample: existing logs contain such rows.
"""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import StoredEvent

from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.aggregate import EventMetadata, with_event_metadata
from huajuan.domain.email_claim import EmailClaim
from huajuan.domain.image import Image, ImageParameters
from huajuan.domain.inference_servers import InferenceServers
from huajuan.domain.like_and_favorite import Favorite, Like
from huajuan.domain.read_table import ReadTable
from huajuan.domain.registry import AGGREGATES
from huajuan.event_store.mapper import EventMapper

FILE = Path(__file__).parent / "samples.json"
ANN, CLAIM, PICTURE, LOST, LIKE, FAVORITE, SWEPT, BEN, ADMIN, TABLE, UNWANTED, STUDIO = (
    UUID(int=n) for n in range(1, 13)
)
AT = datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=UTC)


class OneKey(dict[UUID, AESGCM | None]):
    """The same key for each account."""

    def __missing__(self, subject: UUID) -> AESGCM:
        return AESGCM(b"k" * 32)


def shipped_topics() -> set[str]:
    nested = (value for kind in AGGREGATES for value in vars(kind).values() if isinstance(value, type))
    return {value.TOPIC for value in nested if hasattr(value, "TOPIC")}


def somebody_gone() -> Account:
    gone = Account.register(BEN, "ben", "ben@example.org", "$2b$hash")
    gone.request_approval(5)
    gone.approve("a colleague")
    gone.deduct(3, "a mistake")
    gone.ban("spam")
    gone.unban("forgiven")
    gone.reset_check_in("the clock was wrong")
    gone.request_approval(0)
    gone.reject("spam")
    return gone


def administration() -> tuple[Admin, ReadTable, InferenceServers]:
    admin = Admin.begin(ADMIN, ANN, "runs the service")
    admin.revoke("on leave")
    admin.grant("is back")
    table = ReadTable.begin(TABLE, "history_v1")
    table.request_rebuild("a fold was mended")
    table.skip(7, "image.drawn", "its file is lost")
    studio = InferenceServers.begin(STUDIO)
    studio.add("http://gpu-2:8188", [], "more to draw")
    studio.remove("http://gpu-2:8188", [], "it is needed elsewhere")
    return admin, table, studio


def marks() -> tuple[Like, Favorite]:
    like = Like.begin(LIKE, ANN, PICTURE)
    favorite = Favorite.begin(FAVORITE, ANN, PICTURE)
    like.take_back()
    like.give()
    favorite.remove()
    favorite.add()
    return like, favorite


def a_life() -> list[Any]:
    """Events of all classes, in a possible order."""
    with with_event_metadata(EventMetadata(AT, ANN, "request-1")):
        account = Account.register(ANN, "ann", "ann@example.org", "$2b$hash")
        account.grant(5, "welcome")
        account.check_in(date(2026, 11, 24))
        account.hold(PICTURE, 20)
        account.hold(LOST, 20)
        account.settle(PICTURE)
        account.return_points(LOST, "lost")
        account.change_email("new@example.org")
        account.change_password("$2b$other")
        account.change_avatar("https://example.org/a.png")
        claim = EmailClaim.begin(CLAIM, ANN)
        claim.release()
        claim.claim(ANN)
        order = ImageParameters("sun", 220, 200, 30, "DDIM", "7")
        drawn, failed, swept, unwanted = (
            Image.request(i, ANN, order, 20, AT, "ef" * 32) for i in (PICTURE, LOST, SWEPT, UNWANTED)
        )
        unwanted.cancel("cancelled")
        drawn.start()
        drawn.draw("p.png", "ab" * 32, "ink.safetensors", "0.33.0", 1234)
        failed.fail("lost")
        drawn.delete(ANN, AT + timedelta(hours=1))
        drawn.restore(ANN, AT)
        swept.draw("s.png", "cd" * 32)
        swept.delete(ANN, AT)
        swept.sweep(AT + timedelta(seconds=1))
        swept.erase()
        gone = somebody_gone()
        like, favorite = marks()
        acts = administration()
    snapshot = Account.Snapshot.take(account)
    aggregates = (account, claim, drawn, failed, like, favorite, swept, unwanted, gone, *acts)
    return [event for aggregate in aggregates for event in aggregate.collect_events()] + [snapshot]


def of_a_command() -> Any:
    """An event of an idempotent command."""
    with with_event_metadata(EventMetadata(AT, ANN, "request-1", "00000000000000000000000000000007.0")):
        like = Like.begin(LIKE, ANN, PICTURE)
    return like.collect_events()[0]


def load() -> dict[str, StoredEvent]:
    samples = json.loads(FILE.read_text())
    return {
        name: StoredEvent(UUID(s["stream"]), s["version"], s["topic"], s["state"].encode())
        for name, s in samples.items()
    }


def add_missing() -> None:
    samples = json.loads(FILE.read_text()) if FILE.exists() else {}
    mapper = EventMapper(keys=OneKey())
    named = [(f"{event.TOPIC} v{getattr(type(event), 'class_version', 1)}", event) for event in a_life()]
    for name, event in [*named, ("like.given v1 of a command", of_a_command())]:
        row = mapper.to_stored_event(event)
        stored = {"stream": str(row.originator_id), "version": row.originator_version}
        samples.setdefault(name, stored | {"topic": row.topic, "state": row.state.decode()})
    FILE.write_text(json.dumps(samples, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    add_missing()
