"""The ComfyUI servers that draw, and which of them to ask next."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Protocol
from uuid import UUID

from huajuan.inference_client import ComfyUI, Drawing, JobState, Limits


class Host(Protocol):
    """What a server that draws can do: see `inference_client`."""

    async def draw(self, drawing: Drawing) -> bytes: ...
    async def finish(self, drawing: Drawing) -> bytes: ...
    async def find(self, prompt_id: UUID) -> JobState: ...


class Hosts:
    """Use as made by `open_hosts`. At least one host."""

    def __init__(self, by_url: Mapping[str, Host]) -> None:
        self._by_url = by_url
        self._busy: Counter[str] = Counter()

    def least_busy(self) -> str:
        return min(self._by_url, key=lambda url: self._busy[url])

    def others(self, url: str) -> list[str]:
        return [other for other in self._by_url if other != url]

    @contextmanager
    def occupied(self, url: str) -> Iterator[Host]:
        self._busy[url] += 1
        try:
            yield self._by_url[url]
        finally:
            self._busy[url] -= 1

    async def that_knows(self, image_id: UUID) -> str | None:
        """The host that knows this job, or `None` when every host says that it does not.

        Raises `OutcomeUnknown` when no host knows it and one could not be asked.
        """
        answers = await asyncio.gather(
            *(self._knows(url, image_id) for url in self._by_url), return_exceptions=True
        )
        for url, answer in zip(self._by_url, answers, strict=True):
            if answer is True:
                return url
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return None

    async def _knows(self, url: str, image_id: UUID) -> bool:
        return await self._by_url[url].find(image_id) is not JobState.UNKNOWN


@asynccontextmanager
async def open_hosts(urls: Iterable[str], limits: Limits) -> AsyncIterator[Hosts]:
    async with AsyncExitStack() as stack:
        yield Hosts({url: await stack.enter_async_context(ComfyUI(url, limits=limits)) for url in urls})
