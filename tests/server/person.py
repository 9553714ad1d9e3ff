"""A user of the service over HTTP, with a new connection for each request."""

import threading
from contextlib import suppress
from typing import Any

import httpx

from tests.loopback import NO_TLS

PASSWORD = "secret"
SUN = {"prompt": "sun", "width": 220, "height": 200, "steps": 30, "sampling_method": "DDIM", "seed": "7"}
REQUEST_SECONDS_MAX = 60


class Person:
    """Registers and logs in at one service; later requests may go to another."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self._headers: dict[str, str] = {}
        self.register_reply = self._post(f"{address}/register", self._form)
        self.login_reply = self.log_in(address)

    @property
    def _form(self) -> dict[str, str]:
        return {"username": self.name, "email": f"{self.name}@example.com", "password": PASSWORD}

    def log_in(self, address: str) -> dict[str, Any]:
        reply = self._post(f"{address}/login", {"username": self.name, "password": PASSWORD})
        self._headers = {"Authorization": reply.get("token", "")}
        return reply

    def check_in(self, address: str) -> dict[str, Any]:
        return self._get(f"{address}/auth/score")

    def generate(self, address: str, **changes: object) -> dict[str, Any]:
        return self._post(f"{address}/auth/generate", SUN | changes)

    def generate_aside(self, address: str, **changes: object) -> threading.Thread:
        """Sends a request and ignores the reply."""

        def ask() -> None:
            with suppress(httpx.HTTPError, ValueError):
                self.generate(address, **changes)

        asking = threading.Thread(target=ask)
        asking.start()
        return asking

    def info(self, address: str) -> dict[str, Any]:
        user: dict[str, Any] = self._get(f"{address}/auth/user/info")["user"]
        return user

    def score(self, address: str) -> int:
        return int(self.info(address)["score"])

    def images(self, address: str) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = self._get(f"{address}/auth/user/images")["images"]
        return images

    def _get(self, url: str) -> dict[str, Any]:
        reply: dict[str, Any] = httpx.get(
            url, headers=self._headers, timeout=REQUEST_SECONDS_MAX, trust_env=False, verify=NO_TLS
        ).json()
        return reply

    def _post(self, url: str, body: object) -> dict[str, Any]:
        reply: dict[str, Any] = httpx.post(
            url, json=body, headers=self._headers, timeout=REQUEST_SECONDS_MAX, trust_env=False, verify=NO_TLS
        ).json()
        return reply


def fetch(address: str, picture: str) -> httpx.Response:
    """Fetches a picture by its public URL from this service."""
    path = httpx.URL(picture).path
    return httpx.get(f"{address}{path}", timeout=REQUEST_SECONDS_MAX, trust_env=False, verify=NO_TLS)
