"""Clients at different addresses: loopback is a trusted proxy, which forwards the client's address."""

from typing import Any

import httpx

BEHIND_PROXY: dict[str, Any] = {"trusted_proxies": ("127.0.0.1",)}
HOME, ELSEWHERE = "203.0.113.9", "198.51.100.1"
TOO_MANY = {"message": "尝试次数过多，请稍后再试"}


def at(address: str, **headers: str) -> dict[str, str]:
    return {"X-Forwarded-For": address, **headers}


def form_of(name: str, **changes: Any) -> dict[str, Any]:
    return {"username": name, "email": f"{name}@example.org", "password": "secret"} | changes


async def register(
    client: httpx.AsyncClient, name: str, address: str = HOME, **headers: str
) -> httpx.Response:
    return await client.post("/register", json=form_of(name), headers=at(address, **headers))


async def log_in(
    client: httpx.AsyncClient, name: str, address: str = HOME, password: str = "secret", **headers: str
) -> httpx.Response:
    form = {"username": name, "password": password}
    return await client.post("/login", json=form, headers=at(address, **headers))
