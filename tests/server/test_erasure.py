"""After an erasure, neither a dump, nor the pictures, nor the logs have readable data of the person."""

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from huajuan.commands.moderation import grant_admin
from huajuan.domain.account import Account
from huajuan.embedded_postgres.binaries import find_binaries
from huajuan.event_store.writer import EventStoreLimits
from huajuan.server.database import DATABASE_NAME
from tests.database import eventually
from tests.event_store.helpers import opened
from tests.loopback import NO_TLS
from tests.server.person import Person
from tests.server.service import Service
from tests.storage.test_avatars import picture

PG_DUMP = find_binaries() / "pg_dump"
DUMP_SECONDS_MAX = 60
SOON: dict[str, Any] = {
    "erase_every_seconds": 0.1,
    "erasure_grace_seconds": 0,
    "sweep_every_seconds": 0.1,
    "event_store": EventStoreLimits(snapshot_every_events=2),
}
NAME, PASSWORD = "ann_who_leaves", "her_own_password"
PROMPT, SEED = "a purple giraffe", "a_seed_of_hers"
SECOND_EMAIL = "second@leaves.example"
AVATAR, REASON = "https://example.org/portrait_of_hers.png", "overheard in the hall"
_BYTES = re.compile(rb"\\\\x([0-9a-f]+)")


class Leaver(Person):
    """Creates data in each place where the service stores or logs something."""

    def live(self, address: str) -> None:
        self.check_in(address)
        for _ in range(2):
            assert "image_url" in self.generate(address, prompt=PROMPT, seed=SEED)
        for changes in ({"email": SECOND_EMAIL}, {"password": PASSWORD}):
            self.ask("PUT", f"{address}/auth/user/update", json=changes)
        self.ask("POST", f"{address}/login", json={"username": self.name, "password": "wrong"}, status=401)
        self._headers = {"Authorization": self._post(f"{address}/login", self._new_form)["token"]}
        portrait = {"file": (f"{NAME}.png", picture("PNG"), "image/png")}
        self.ask("POST", f"{address}/auth/uploadavatar", files=portrait)
        self.ask("POST", f"{address}/auth/setavatar", json={"url": AVATAR})
        self.ask("GET", f"{address}/auth/user/images?prompt={PROMPT}")
        self.ask("POST", f"{address}/auth/generate", json={"prompt": PROMPT, "seed": SEED}, status=400)

    @property
    def _new_form(self) -> dict[str, str]:
        return {"username": self.name, "password": PASSWORD}

    def speak_of(self, name: str, address: str) -> None:
        """Acts of an admin, with reasons."""
        for change in (20, -10):
            form = {"change": change, "reason": REASON}
            self.ask("POST", f"{address}/admin/users/{name}/points", json=form)

    def leave(self, address: str) -> None:
        query = {"isOwn": "true", "username": self.name}
        self.ask("DELETE", f"{address}/auth/root/deleteOneUser", params=query)

    def ask(self, method: str, url: str, status: int = 200, **sent: Any) -> None:
        reply = httpx.request(
            method, url, headers=self._headers, trust_env=False, timeout=60, **sent, verify=NO_TLS
        )
        assert reply.status_code == status, reply.text


def make_admin(dsn: str, *names: str) -> None:
    async def grant() -> None:
        async with opened(dsn) as store:
            for name in names:
                await grant_admin(store, store.stream_ids.account(name), REASON)

    asyncio.run(grant())


def password_hash(dsn: str, name: str) -> str:
    """The password hash, which is readable before the erasure."""

    async def read() -> str:
        async with opened(dsn) as store:
            account = await store.find(Account, store.stream_ids.account(name))
            assert account
            assert account.password_hash
            return account.password_hash

    return asyncio.run(read())


def dump(dsn: str) -> bytes:
    """The database dumped as SQL, with its hexadecimal values decoded at the end."""
    command: list[str | Path] = [PG_DUMP, f"--dbname={dsn}"]
    text = subprocess.run(command, check=True, capture_output=True, timeout=DUMP_SECONDS_MAX).stdout
    return b"\n".join([text, *(bytes.fromhex(found.decode()) for found in _BYTES.findall(text))])


def files(folder: Path) -> bytes:
    """The name and content of each file."""
    return b"\n".join(str(f).encode() + b"\n" + f.read_bytes() for f in folder.rglob("*") if f.is_file())


def left(dsn: str) -> int:
    query = (
        "SELECT (SELECT count(*) FROM operations.erasures) + "
        "(SELECT count(*) FROM operations.deleted_pictures)"
    )
    with psycopg.connect(dsn) as connection:
        return int((connection.execute(query).fetchone() or (0,))[0])


@pytest.mark.skipif(not PG_DUMP.is_file(), reason="this PostgreSQL has no pg_dump beside its server")
def test_no_readable_data_of_an_erased_person_is_left(folder: Path) -> None:
    with Service(folder, **SOON) as service:
        ann, ben = (Leaver(name, service.ready().address) for name in (NAME, "ben_who_stays"))
        ann.live(service.address)
        ben.check_in(service.address)
        dsn, pictures = service.postgres.dsn(DATABASE_NAME), folder / "data" / "pictures"
        make_admin(dsn, NAME, ben.name)
        ben.speak_of(NAME, service.address)
        words = [NAME, "leaves.example", "portrait_of_hers", PROMPT, SEED, REASON, "her_own"]
        words.append(password_hash(dsn, NAME))
        before = dump(dsn)
        assert all(
            word.encode() in before for word in (NAME, "portrait_of_hers", PROMPT, "account.registered")
        )
        assert len(list(pictures.rglob("*.png"))) in {2, 3}, "the replaced avatar may be gone"
        ann.leave(service.address)
        eventually(lambda: not left(dsn) and not list(pictures.rglob("*.png")))
        after = dump(dsn)
        assert all(word.encode() in after for word in ("ben_who_stays", "account.erased", '"actor"'))
        told = service.told.encode()
        assert b"/auth/root/deleteOneUser" in told
        for place in (after, files(pictures), told):
            assert [word for word in words if word.encode() in place] == []
