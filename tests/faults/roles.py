"""The roles of a forked process: API, dispatcher, demo ComfyUI, or a client that ends after one call."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import huajuan.bootstrap
from huajuan.commands.generate_image import cancel_image, generate_image, request_image
from huajuan.demo_comfyui.__main__ import options
from huajuan.demo_comfyui.__main__ import serve as serve_comfyui
from huajuan.domain.image import ImageParameters
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.jobs.runner import JobRunner
from huajuan.runtime.logs import configure_logs
from huajuan.settings import from_environment
from tests.faults.broken import break_

COMFYUI_ADDRESS = ["--host", "127.0.0.1"]


def api(broken: str = "") -> int:
    """The service without its dispatcher."""
    _disable_dispatcher()
    return dispatcher(broken)


def dispatcher(broken: str = "") -> int:
    """The whole service. It gets no requests, so it only dispatches jobs."""
    from huajuan.__main__ import main

    break_(broken)
    sys.argv = ["huajuan", "serve"]
    return main()


def comfyui(port: int, step_seconds: float, folder: str) -> int:
    tempfile.tempdir = folder  # a killed process cannot clean up
    words = ["--port", str(port), "--step-seconds", str(step_seconds), "--faults"]
    asyncio.run(serve_comfyui(options([*COMFYUI_ADDRESS, *words])))
    return 0


def client(verb: str, account: str, image: str, broken: str = "") -> int:
    """Request one image (`ask`), request and wait too long (`wait`), or cancel one (`cancel`)."""
    break_(broken)
    configure_logs()
    _disable_dispatcher()
    asyncio.run(_run_client(verb, UUID(account), UUID(image)))
    return 0


async def _run_client(verb: str, account: UUID, image: UUID) -> None:
    async with huajuan.bootstrap.open_services(from_environment(os.environ)) as services:
        if verb == "ask":
            await request_image(services.job_runner, account, image, parameters())
        elif verb == "wait":
            await generate_image(
                services.job_runner, account, image, parameters(steps=40), wait_seconds_max=0.3
            )
        else:
            await cancel_image(services.job_runner, account, image)


def parameters(steps: int = 2) -> ImageParameters:
    return ImageParameters(prompt="sun", width=64, height=64, steps=steps, sampling_method="DDIM", seed="7")


def _disable_dispatcher() -> None:
    setattr(huajuan.bootstrap, "dispatching", _no_dispatcher)  # noqa: B010  mypy, which knows better


@asynccontextmanager
async def _no_dispatcher(job_runner: JobRunner, _: Dispatcher) -> AsyncIterator[None]:
    yield
    await job_runner.close()


ROLES: dict[str, Callable[..., int]] = {
    "api": api,
    "dispatcher": dispatcher,
    "comfyui": comfyui,
    "client": client,
}
