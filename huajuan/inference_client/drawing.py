"""What to draw, and what was drawn."""

from typing import Any
from uuid import UUID

import msgspec


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to be drawn; `prompt_id` is its identity on the server and must never be reused.

    Sizes are in pixels and met exactly. `sampling_method` is `DDIM`, `PLMS` or `K-LMS`; `noise_seed`
    lies in 0 … 2^64-1. Without a `checkpoint` the first one the server lists is taken.
    `workflow` is a graph with holes, the client's own if there is none. With `plain_steps` sizes are rounded up to
    multiples of 8, whatever the server says of its inputs.
    """

    prompt_id: UUID
    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    noise_seed: int
    negative_prompt: str = ""
    checkpoint: str | None = None
    workflow: dict[str, Any] | None = None
    plain_steps: bool = False


class Drawn(msgspec.Struct, frozen=True):
    """The picture as PNG, verified, without metadata, and what drew it.

    `checkpoint` is the model that the graph named, `version` the server's own; empty where nobody says.
    """

    content: bytes
    checkpoint: str = ""
    version: str = ""
