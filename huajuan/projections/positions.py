"""How far each projection has folded, as far as this process has heard; waits until one is far enough."""

import asyncio
from collections.abc import Iterable


class Positions:
    """Names are projections' schemas. Read-your-writes waits here, on a condition, without polling."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._moved = asyncio.Condition()

    def __getitem__(self, name: str) -> int:
        return self._positions.get(name, 0)

    async def moved(self, name: str, position: int) -> None:
        async with self._moved:
            self._positions[name] = max(position, self[name])
            self._stopped.discard(name)
            self._moved.notify_all()

    async def stopped(self, name: str) -> None:
        """Nobody needs to wait for this one."""
        async with self._moved:
            self._stopped.add(name)
            self._moved.notify_all()

    def is_stopped(self, name: str) -> bool:
        return name in self._stopped

    async def reach(self, names: Iterable[str], position: int, seconds_max: float) -> bool:
        """Wait until each of these has folded `position`. False at the bound, or if one is stopped."""
        names = tuple(names)

        def settled() -> bool:
            return all(name in self._stopped or self[name] >= position for name in names)

        try:
            async with asyncio.timeout(seconds_max), self._moved:
                await self._moved.wait_for(settled)
        except TimeoutError:
            return False
        return not self._stopped.intersection(names)
