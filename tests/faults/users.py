"""Users who request pictures over HTTP: one waits for the reply, the other disconnects early."""

import threading
from contextlib import suppress
from typing import Any

import httpx

from tests.loopback import NO_TLS
from tests.server.person import PASSWORD

PARAMETERS: dict[str, Any] = {
    "prompt": "sun", "width": 128, "height": 128, "steps": 4, "sampling_method": "DDIM", "seed": "7",
}  # fmt: skip
WAIT_SECONDS = 30.0
DISCONNECT_SECONDS = 0.15
SLOW_STEPS = 40


class Users:
    """Registered and logged in once; their tokens stay valid when processes restart."""

    def __init__(self, address: str, names: tuple[str, ...] = ("ann", "ben")) -> None:
        self._generate = f"{address}/auth/generate"
        self._tokens = [self._log_in(address, name) for name in names]
        self._threads: list[threading.Thread] = []
        self._seed = 0

    def _log_in(self, address: str, name: str) -> str:
        form = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        with httpx.Client(base_url=address, trust_env=False, timeout=20, verify=NO_TLS) as client:
            client.post("/register", json=form).raise_for_status()
            token: str = client.post("/login", json=form).json()["token"]
        return token

    def request(self, steps: int = PARAMETERS["steps"]) -> None:
        """Each user requests one picture."""
        for number, token in enumerate(self._tokens):
            seconds = DISCONNECT_SECONDS if number else WAIT_SECONDS
            self._seed += 1
            parameters = PARAMETERS | {"steps": steps, "seed": str(self._seed)}
            thread = threading.Thread(target=self._request, args=(token, parameters, seconds), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _request(self, token: str, parameters: dict[str, Any], seconds: float) -> None:
        with suppress(httpx.HTTPError):
            headers = {"Authorization": token}
            httpx.post(
                self._generate,
                json=parameters,
                headers=headers,
                timeout=seconds,
                trust_env=False,
                verify=NO_TLS,
            )

    def is_waiting(self) -> bool:
        """Whether a request is still in progress."""
        return any(thread.is_alive() for thread in self._threads)

    def clear(self) -> None:
        self._threads.clear()
