"""People who ask for pictures: one waits for the answer, another hangs up, and neither minds who dies."""

import threading
from contextlib import suppress
from typing import Any

import httpx

from tests.loopback import NO_TLS
from tests.server.person import PASSWORD

ORDER: dict[str, Any] = {
    "prompt": "sun", "width": 128, "height": 128, "steps": 4, "sampling_method": "DDIM", "seed": "7",
}  # fmt: skip
PATIENT_SECONDS = 30.0
HASTY_SECONDS = 0.15
SLOW_STEPS = 40


class Crowd:
    """Registered and logged in once; their tokens outlive every process."""

    def __init__(self, address: str, names: tuple[str, ...] = ("ann", "ben")) -> None:
        self._generate = f"{address}/auth/generate"
        self._tokens = [self._enter(address, name) for name in names]
        self._asking: list[threading.Thread] = []
        self._seed = 0

    def _enter(self, address: str, name: str) -> str:
        form = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        with httpx.Client(base_url=address, trust_env=False, timeout=20, verify=NO_TLS) as client:
            client.post("/register", json=form).raise_for_status()
            token: str = client.post("/login", json=form).json()["token"]
        return token

    def ask(self, steps: int = ORDER["steps"]) -> None:
        """Each for one picture."""
        for number, token in enumerate(self._tokens):
            seconds = HASTY_SECONDS if number else PATIENT_SECONDS
            self._seed += 1
            order = ORDER | {"steps": steps, "seed": str(self._seed)}
            asking = threading.Thread(target=self._ask, args=(token, order, seconds), daemon=True)
            asking.start()
            self._asking.append(asking)

    def _ask(self, token: str, order: dict[str, Any], seconds: float) -> None:
        with suppress(httpx.HTTPError):
            headers = {"Authorization": token}
            httpx.post(
                self._generate, json=order, headers=headers, timeout=seconds, trust_env=False, verify=NO_TLS
            )

    def is_waiting(self) -> bool:
        """Whether somebody has no answer yet, and does not know either that none will come."""
        return any(asking.is_alive() for asking in self._asking)

    def forget(self) -> None:
        self._asking.clear()
