"""A process that leads every projection, folds half a batch, says so, and never commits."""

import asyncio
import sys

from huajuan.projections.engine import apply, batch
from tests.projections.gallery import projecting


async def lead_for_ever(dsn: str) -> None:
    real_apply = apply.apply

    async def apply_and_hang(*arguments):  # type: ignore[no-untyped-def]
        connection = arguments[0]
        for write in (await real_apply(*arguments)).writes:
            await connection.execute(*write)
        print("folding", flush=True)  # noqa: T201
        await asyncio.sleep(3600)

    vars(batch)["apply"] = apply_and_hang
    async with projecting(dsn):
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(lead_for_ever(sys.argv[1]))
