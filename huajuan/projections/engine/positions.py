"""How far each projection has folded, as far as this process has heard; waits until one is far enough."""

import asyncio
from collections.abc import Callable, Iterable, Mapping


class Positions:
    """Names are projections' schemas. Read-your-writes waits here, rung and without polling."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def __getitem__(self, name: str) -> int:
        return self._positions.get(name, 0)

    def moved(self, positions: Mapping[str, int]) -> None:
        for name, position in positions.items():
            self._positions[name] = max(position, self[name])
        self._stopped.difference_update(positions)
        self._ring()

    def are(self, positions: Mapping[str, int]) -> None:
        """As the database has them, even if that is less: a crash of it may have lost what it had told."""
        self._positions |= positions
        self._ring()

    def stopped(self, name: str) -> None:
        """Nobody needs to wait for this one."""
        self._stopped.add(name)
        self._ring()

    def is_stopped(self, name: str) -> bool:
        return name in self._stopped

    async def reach(self, names: Iterable[str], position: int, seconds_max: float) -> bool:
        """Wait until each of these has folded `position`. False at the bound, or if one is stopped."""
        names = tuple(names)

        def settled() -> bool:
            return all(self[name] >= position or name in self._stopped for name in names)

        if not settled() and not await self._wait(settled, seconds_max):
            return False
        return self._stopped.isdisjoint(names)

    async def _wait(self, settled: Callable[[], bool], seconds_max: float) -> bool:
        rung = asyncio.get_running_loop().create_future()
        self._waiting[rung] = settled
        try:
            async with asyncio.timeout(seconds_max):
                await rung
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(rung, None)
        return True

    def _ring(self) -> None:
        """Only those who have what they wait for."""
        for rung in [rung for rung, settled in self._waiting.items() if settled()]:
            del self._waiting[rung]
            if not rung.done():
                rung.set_result(None)
