"""The position of each projection as far as this process knows, and the wait until a position is folded."""

import asyncio
from collections.abc import Callable, Iterable, Mapping


class Positions:
    """Names are schemas of projections. Reading one's own writes waits here, without polling."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def __getitem__(self, name: str) -> int:
        return self._positions.get(name, 0)

    def advance(self, positions: Mapping[str, int]) -> None:
        """Positions that were folded here or in another process; a smaller one is ignored."""
        for name, position in positions.items():
            self._positions[name] = max(position, self[name])
        self._stopped.difference_update(positions)
        self._wake()

    def reset(self, positions: Mapping[str, int]) -> None:
        """The positions in the database, also smaller ones: a crash of Postgres may lose published ones."""
        self._positions |= positions
        self._wake()

    def mark_stopped(self, name: str) -> None:
        """The projection folds no more for now, so that nobody waits for it."""
        self._stopped.add(name)
        self._wake()

    def is_stopped(self, name: str) -> bool:
        return name in self._stopped

    async def wait_for_position(self, names: Iterable[str], position: int, seconds_max: float) -> bool:
        """Wait until each of these has folded `position`. False after `seconds_max`, or if one is stopped."""
        names = tuple(names)

        def is_settled() -> bool:
            return all(self[name] >= position or name in self._stopped for name in names)

        if not is_settled() and not await self._wait(is_settled, seconds_max):
            return False
        return self._stopped.isdisjoint(names)

    async def _wait(self, is_settled: Callable[[], bool], seconds_max: float) -> bool:
        wakeup = asyncio.get_running_loop().create_future()
        self._waiting[wakeup] = is_settled
        try:
            async with asyncio.timeout(seconds_max):
                await wakeup
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(wakeup, None)
        return True

    def _wake(self) -> None:
        """Wakes only the waiting tasks whose condition is met."""
        for wakeup in [wakeup for wakeup, is_settled in self._waiting.items() if is_settled()]:
            del self._waiting[wakeup]
            if not wakeup.done():
                wakeup.set_result(None)
