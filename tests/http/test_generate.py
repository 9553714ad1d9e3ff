"""Parameters that the workflow does not apply are reported."""

import json
from pathlib import Path

from tests.http.conftest import ORDER, body
from tests.http.jobs import ASYNC, someone
from tests.inference_client.own_workflows import own_workflow, with_input
from tests.services import client_of


async def test_a_reply_names_what_was_not_applied(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(own_workflow()))
    async with client_of(database_url, workflow=str(file)) as client:
        ann = await someone(client)
        made = body(await client.post("/auth/generate", json=ORDER, headers=ann))
        assert made["not_applied"] == ["steps", "sampling_method"]
        asked = body(await client.post("/auth/generate", json=ORDER, headers=ann | ASYNC))
        assert asked["not_applied"] == ["steps", "sampling_method"]
        (first, *_) = body(await client.get("/auth/user/images", headers=ann))["images"]
        assert "not_applied" not in first, "what was asked for stays as the document has it"
        assert first["params"].endswith("Steps: 30, SamplingMethod: DDIM")


async def test_a_workflow_that_takes_all_is_nothing_to_speak_of(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(with_input("5", steps="{steps}", sampler_name="{sampler}")))
    async with client_of(database_url, workflow=str(file)) as client:
        made = body(await client.post("/auth/generate", json=ORDER, headers=await someone(client)))
        assert "not_applied" not in made
