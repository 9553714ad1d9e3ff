"""Graphs and the posting of them, for tests of the painter itself."""

from typing import Any

import httpx

from huajuan.inference_client.holes import Graph
from huajuan.inference_client.workflow import fill, text_to_image, values
from tests.inference_client.conftest import RunningPainter, drawing, until

CHECKPOINT = "demo-painter (no model).safetensors"


def graph(**changes: Any) -> Graph:
    return fill(text_to_image(), values(drawing(**changes), CHECKPOINT))


def blank(prefix: str = "blank", **inputs: Any) -> Graph:
    empty = {"width": 64, "height": 64, "batch_size": 1, "color": 255} | inputs
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def post(painter: RunningPainter, prompt: object, **more: Any) -> httpx.Response:
    return painter.http.post("/prompt", json={"prompt": prompt, "client_id": "c"} | more)


async def ended(painter: RunningPainter, prompt_id: str) -> dict[str, Any]:
    async def is_there() -> bool:
        return bool(painter.http.get(f"/history/{prompt_id}").json())

    await until(is_there)
    entry: dict[str, Any] = painter.http.get(f"/history/{prompt_id}").json()[prompt_id]
    return entry
