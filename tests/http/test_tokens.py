"""Tokens: pinned to our key and algorithm, checked before the body, cached once verified."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from huajuan.auth.sessions import TokenExpired, TokenInvalid, Tokens
from huajuan.domain.credentials import AuthenticatedAccount
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.store import EventStore
from tests.http.conftest import Person, body
from tests.services import SECRET

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ANN = AuthenticatedAccount(UUID(int=1), "ann", 3, "")


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


def tokens(clock: Clock | None = None, cached_max: int = 10) -> Tokens:
    return Tokens(SECRET, 24, clock or Clock(), cached_max)


def forged(key: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {
        "sub": str(uuid4()), "username": "ann", "iat": 1, "exp": 4_000_000_000, "jti": "1", "cred": 1,
    } | changes  # fmt: skip
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm)


def test_a_token_tells_who_it_was_issued_to() -> None:
    claims = tokens().verify(tokens().issue(ANN))
    assert (claims.account_id, claims.username, claims.cred) == (ANN.account_id, "ann", 3)
    assert claims.exp - claims.iat == 24 * 3600


def test_two_tokens_of_one_second_differ() -> None:
    issuer = tokens()
    assert issuer.issue(ANN) != issuer.issue(ANN)


def test_a_token_dies_at_its_time_though_it_was_verified_before() -> None:
    clock = Clock()
    issuer = tokens(clock)
    token = issuer.issue(ANN)
    issuer.verify(token)
    clock.now = NOON + timedelta(hours=24)
    with pytest.raises(TokenExpired):
        issuer.verify(token)


FORGERIES = {
    "garbage": "garbage",
    "other key": forged(key="another secret of thirty-two bytes!"),
    "no algorithm": forged(key="", algorithm="none"),
    "other algorithm": forged(key=SECRET * 2, algorithm="HS512"),
    "no exp": forged(exp=None),
    "no credential": forged(cred=None),
    "subject no account": forged(sub="ann"),
    "exp a text": forged(exp="soon"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_invalid(forgery: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens().verify(FORGERIES[forgery])


def test_a_changed_byte_is_invalid() -> None:
    token = tokens().issue(ANN)
    head, claims, signature = token.split(".")
    with pytest.raises(TokenInvalid):
        tokens().verify(f"{head}.{claims[:-1]}{'A' if claims[-1] != 'A' else 'B'}.{signature}")


def test_the_memory_of_tokens_is_bounded() -> None:
    issuer = tokens(cached_max=2)
    for _ in range(5):
        issuer.verify(issuer.issue(ANN))
    assert len(issuer._verified) == 2


EXPIRED = forged(exp=1)
REFUSED = {
    "absent": ({}, "请求头中缺少Token"),
    "empty": ({"Authorization": ""}, "请求头中缺少Token"),
    "bearer of nothing": ({"Authorization": "Bearer"}, "请求头中缺少Token"),
    "expired": ({"Authorization": EXPIRED}, "Token已过期"),
    "expired bearer": ({"Authorization": f"Bearer {EXPIRED}"}, "Token已过期"),
    "garbage": ({"Authorization": "garbage"}, "无效的Token"),
    "other scheme": ({"Authorization": "Basic YTpi"}, "无效的Token"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_token_is_checked_before_the_body(client: httpx.AsyncClient, case: str) -> None:
    headers, text = REFUSED[case]
    reply = await client.post("/auth/generate", headers=headers, content=b"{")
    assert (reply.status_code, body(reply)) == (401, {"success": False, "message": text})


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer "])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_is_taken_raw_or_as_bearer(
    client: httpx.AsyncClient, person: Person, prefix: str
) -> None:
    headers = await person()
    headers = {"Authorization": prefix + headers["Authorization"]}
    assert (await client.get("/auth/user/info", headers=headers)).status_code == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_of_an_account_that_does_not_exist(client: httpx.AsyncClient) -> None:
    reply = await client.get("/auth/user/info", headers={"Authorization": forged()})
    assert (reply.status_code, body(reply)) == (401, {"message": "无效的Token"})


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_that_cannot_be_judged_is_not_let_in(
    client: httpx.AsyncClient, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await person()

    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(EventStore, "find", away)
    reply = await client.get("/auth/user/info", headers=ann)
    assert (reply.status_code, body(reply)) == (503, {"message": "服务繁忙，请稍后再试"})
