"""A picture from the service against the same graph sent directly to the demo ComfyUI.

`python -m benchmarks.generate`
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx

from benchmarks.append import DISK
from benchmarks.ground import Ground, say
from benchmarks.measuring import Spread
from benchmarks.table import NO_GOAL, Goal, Row
from huajuan.inference_client import Drawing, text_to_image
from huajuan.inference_client.fill import fill, values
from tests.loopback import NO_TLS
from tests.server.person import Person
from tests.server.service import CHECKOUT, Service, environment

STEPS = 10
# In a round of the table.
PICTURES = 3
POLL_SECONDS = 0.002
PAINTER = [sys.executable, "-P", "-m", "huajuan.demo_comfyui"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=15, help="of each kind, in turn")
    parser.add_argument(
        "--milliseconds", type=int, nargs="+", default=[0, 500], help="the drawing time of the demo ComfyUI"
    )
    options = parser.parse_args()
    print("| demo ComfyUI | direct, s | through the service, s | ratio |\n| --- | --- | --- | --- |")
    for milliseconds in options.milliseconds:
        with _demo_comfyui(milliseconds / 1000 / STEPS) as url, _service(url) as draw:
            straight, served = _in_turn(lambda: _straight(url), draw, options.pictures)
        ratio = served.median / straight.median
        print(f"| {milliseconds} ms | {straight} | {served} | {ratio:.2f} |", flush=True)


def rows(ground: Ground) -> Iterator[Row]:
    """One row per demo ComfyUI; the goal applies to the one that takes as long as a real server."""
    for milliseconds, goal in ((0, NO_GOAL), (500, Goal(most=1.05))):
        say(f"generate: demo ComfyUI at {milliseconds} ms")
        with _demo_comfyui(milliseconds / 1000 / STEPS) as url, _service(url) as draw:
            straight, served = taken_in_turn(partial(_straight, url), draw, PICTURES * ground.options.rounds)
        yield Row.of(
            f"generate over HTTP, demo ComfyUI at {milliseconds} ms",
            "the same graph sent straight to it",
            medians(served, ground.options.rounds),
            medians(straight, ground.options.rounds),
            "s",
            goal,
        )


def medians(taken: list[float], rounds: int) -> list[float]:
    """One per round."""
    return [Spread.of(taken[n::rounds]).median for n in range(rounds)]


def _in_turn(one: Callable[[], None], other: Callable[[], None], times: int) -> tuple[Spread, Spread]:
    straight, served = taken_in_turn(one, other, times)
    return Spread.of(straight), Spread.of(served)


def taken_in_turn(
    one: Callable[[], None], other: Callable[[], None], times: int
) -> tuple[list[float], list[float]]:
    """Seconds, after one warm-up run of each."""
    taken: list[list[float]] = [[], []]
    for _ in range(times + 1):
        for act, seconds in zip((one, other), taken, strict=True):
            began = time.perf_counter()
            act()
            seconds.append(time.perf_counter() - began)
    return taken[0][1:], taken[1][1:]


@contextmanager
def _demo_comfyui(step_seconds: float) -> Iterator[str]:
    command = [*PAINTER, "--port", "0", "--step-seconds", str(step_seconds)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), cwd=CHECKOUT
    ) as child:
        assert child.stdout
        try:
            yield json.loads(child.stdout.readline())["url"]
        finally:
            child.kill()


@contextmanager
def _service(comfyui_url: str) -> Iterator[Callable[[], None]]:
    """Draws one picture and fetches it, for a user with enough points."""
    with TemporaryDirectory(dir=DISK if DISK.is_dir() else None) as folder:
        Path(folder).chmod(0o755)
        with Service(Path(folder), comfyui_urls=comfyui_url, welcome_points=1_000_000) as service:
            address = service.ready().address
            ann = Person("ann", address)
            with httpx.Client(trust_env=False, timeout=60, headers=ann._headers, verify=NO_TLS) as client:
                yield lambda: _served(client, address)


def _served(client: httpx.Client, address: str) -> None:
    order = {"prompt": "sun", "width": 128, "height": 128, "steps": STEPS, "sampling_method": "DDIM"}
    drawn = client.post(f"{address}/auth/generate", json=order | {"seed": uuid4().hex}).raise_for_status()
    path = httpx.URL(drawn.json()["image_url"]).path
    client.get(f"{address}{path}").raise_for_status()


def _straight(url: str) -> None:
    """Like a simple client: sends, polls for the end without a pause, and fetches."""
    drawing = Drawing(
        prompt_id=uuid4(), prompt="sun", width=128, height=128, steps=STEPS, sampling_method="DDIM",
        noise_seed=uuid4().int >> 64,
    )  # fmt: skip
    with httpx.Client(trust_env=False, timeout=60, verify=NO_TLS) as client:
        checkpoint = client.get(f"{url}/models/checkpoints").json()[0]
        graph = fill(text_to_image(), values(drawing, checkpoint))
        prompt_id = str(drawing.prompt_id)
        client.post(f"{url}/prompt", json={"prompt": graph, "prompt_id": prompt_id}).raise_for_status()
        while not (entry := client.get(f"{url}/history/{prompt_id}").json()):
            time.sleep(POLL_SECONDS)
        (output,) = entry[prompt_id]["outputs"].values()
        client.get(f"{url}/view", params=output["images"][0]).raise_for_status()


if __name__ == "__main__":
    main()
