"""What a forked process is: the API, a dispatcher, a painter, or an errand that asks or cancels and goes."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import huajuan.bootstrap
from huajuan.commands.cancel_image import cancel_image
from huajuan.commands.generate_image import ask_for_image, generate_image
from huajuan.demo_comfyui.__main__ import options
from huajuan.demo_comfyui.__main__ import serve as serve_painter
from huajuan.domain.image_parameters import Order
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.jobs.runner import DrawingRoom
from huajuan.observability.logs import configure_logs
from huajuan.settings import from_environment
from tests.faults.broken import break_

PAINTER_ADDRESS = ["--host", "127.0.0.1"]


def api(broken: str = "") -> int:
    """The service as it is, but that others dispatch."""
    _dispatch_no_more()
    return dispatcher(broken)


def dispatcher(broken: str = "") -> int:
    """The service as it is; nobody asks it anything, so that it only draws."""
    from huajuan.__main__ import main

    break_(broken)
    sys.argv = ["huajuan", "serve"]
    return main()


def painter(port: int, step_seconds: float, folder: str) -> int:
    tempfile.tempdir = folder  # whoever is killed cannot clear up
    words = ["--port", str(port), "--step-seconds", str(step_seconds), "--faults"]
    asyncio.run(serve_painter(options([*PAINTER_ADDRESS, *words])))
    return 0


def errand(verb: str, account: str, image: str, broken: str = "") -> int:
    """A process that does one thing: `ask`, `wait` in vain, or `cancel`."""
    break_(broken)
    configure_logs()
    _dispatch_no_more()
    asyncio.run(_run_errand(verb, UUID(account), UUID(image)))
    return 0


async def _run_errand(verb: str, account: UUID, image: UUID) -> None:
    async with huajuan.bootstrap.open_desk(from_environment(os.environ)) as desk:
        if verb == "ask":
            await ask_for_image(desk.room, account, image, order())
        elif verb == "wait":
            await generate_image(desk.room, account, image, order(steps=40), wait_seconds_max=0.3)
        else:
            await cancel_image(desk.room, account, image)


def order(steps: int = 2) -> Order:
    return Order(prompt="sun", width=64, height=64, steps=steps, sampling_method="DDIM", seed="7")


def _dispatch_no_more() -> None:
    setattr(huajuan.bootstrap, "drawing", _no_drawing)  # noqa: B010  mypy, which knows better


@asynccontextmanager
async def _no_drawing(room: DrawingRoom, _: Dispatcher) -> AsyncIterator[None]:
    yield
    await room.close()


ROLES: dict[str, Callable[..., int]] = {
    "api": api,
    "dispatcher": dispatcher,
    "painter": painter,
    "errand": errand,
}
