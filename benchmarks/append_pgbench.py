"""pgbench for the append benchmark: the same INSERT, from C, one connection per client."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.append_variants import Variant, a_check_in
from benchmarks.measuring import Sample
from huajuan.embedded_postgres.binaries import find_binaries

THREADS = 2
_RATE = re.compile(rb"tps = ([0-9.]+) \(without")
_LATENCY = re.compile(rb"latency average = ([0-9.]+) ms")


def program() -> Path | None:
    """The path of pgbench, `None` if this PostgreSQL lacks it."""
    found = find_binaries() / "pgbench"
    return found if found.is_file() else None


@asynccontextmanager
async def pgbench(dsn: str) -> AsyncIterator[Variant]:
    """Inserts into the table of `raw_insert`. pgbench reports only the average latency."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_statement())
        script.flush()

        async def measure(clients: int, seconds: float) -> Sample:
            # It accepts whole seconds only.
            duration, threads = max(1, round(seconds)), min(clients, THREADS)
            words = ["-n", "-M", "prepared", "-f", script.name, "-c", clients, "-j", threads, "-T", duration]
            process = await asyncio.create_subprocess_exec(
                program() or "pgbench", *map(str, words), dsn, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
            rate, latency = _RATE.search(out), _LATENCY.search(out)
            assert rate, out
            assert latency, out
            milliseconds = float(latency[1])
            return Sample(float(rate[1]), milliseconds / 1000, milliseconds / 1000, 0)

        yield Variant("pgbench", measure)


def _statement() -> str:
    sample = a_check_in()
    return (
        "INSERT INTO public.raw_events (originator_id, originator_version, topic, state, chain) "
        f"VALUES (gen_random_uuid(), 1, '{sample.topic}', '\\x{sample.state.hex()}', sha256(''));\n"
    )
