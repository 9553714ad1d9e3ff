"""Graphs, and their submission over HTTP, for tests of the demo server."""

from typing import Any

import httpx

from huajuan.inference_client.fill import fill, text_to_image, values
from huajuan.inference_client.placeholders import Graph
from tests.inference_client.conftest import RunningDemo, drawing, until

CHECKPOINT = "demo-painter (no model).safetensors"


def graph(**changes: Any) -> Graph:
    return fill(text_to_image(), values(drawing(**changes), CHECKPOINT))


def blank(prefix: str = "blank", **inputs: Any) -> Graph:
    empty = {"width": 64, "height": 64, "batch_size": 1, "color": 255} | inputs
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def post(server: RunningDemo, prompt: object, **more: Any) -> httpx.Response:
    return server.http.post("/prompt", json={"prompt": prompt, "client_id": "c"} | more)


async def ended(server: RunningDemo, prompt_id: str) -> dict[str, Any]:
    async def is_there() -> bool:
        return bool(server.http.get(f"/history/{prompt_id}").json())

    await until(is_there)
    entry: dict[str, Any] = server.http.get(f"/history/{prompt_id}").json()[prompt_id]
    return entry
