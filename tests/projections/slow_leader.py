"""A process that locks all checkpoints, folds half a batch, reports it on stdout, and never commits."""

import asyncio
import sys

from huajuan.projections.engine import batch
from tests.projections.gallery import projecting


async def fold_without_commit(dsn: str) -> None:
    real_apply = batch.apply_batch

    async def apply_and_hang(*arguments):  # type: ignore[no-untyped-def]
        connection = arguments[0]
        for write in (await real_apply(*arguments)).writes:
            await connection.execute(*write)
        print("folding", flush=True)  # noqa: T201
        await asyncio.sleep(3600)

    vars(batch)["apply_batch"] = apply_and_hang
    async with projecting(dsn):
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(fold_without_commit(sys.argv[1]))
