"""A started service uses forwarding headers of trusted proxies only."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.loopback import NO_TLS
from tests.server.service import Service

HOME = "203.0.113.9"


@pytest.mark.parametrize(("trusted", "client"), [("", "127.0.0.1"), ("127.0.0.1,::1", HOME)])
def test_a_proxy_on_loopback_is_trusted_if_configured(folder: Path, trusted: str, client: str) -> None:
    with Service(folder, trusted_proxies=trusted).ready() as service:
        for _ in range(2):
            headers = {"X-Forwarded-For": HOME, "X-Request-Id": "asked"}
            httpx.get(f"{service.address}/user/all", headers=headers, verify=NO_TLS, timeout=30)
        service.stop()
        lines = [json.loads(line) for line in service.told.splitlines() if line.startswith("{")]
    asked: list[dict[str, Any]] = [line for line in lines if line.get("request_id") == "asked"]
    assert [line["client"] for line in asked if line["event"] == "request"] == [client] * 2
    told = [line for line in lines if line.get("setting") == "HUAJUAN_TRUSTED_PROXIES"]
    assert len(told) == (1 if client == "127.0.0.1" else 0)
