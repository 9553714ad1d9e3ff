"""Make a server's data folder, whole or not at all, and refuse or repair one that cannot be started."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from huajuan.embedded_postgres.account import Account
from huajuan.embedded_postgres.binaries import version_of
from huajuan.embedded_postgres.errors import EmbeddedPostgresError
from huajuan.embedded_postgres.folders import make_private
from huajuan.embedded_postgres.processes import exists, read_pid_file, serves

INITDB_SECONDS = 120
SUPERUSER = "postgres"
_BUILTIN_LOCALES_SINCE = 17


def make_data(data: Path, binaries: Path, account: Account, *, durable: bool, lock: int) -> None:
    """Run initdb beside its final name, then rename, so that no half-made folder is ever started.

    initdb inherits the lock: should we be killed, the next process waits until it too is gone.
    """
    unfinished = data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_private(unfinished, account)
    _initdb(unfinished, binaries, account, durable=durable, lock=lock)
    unfinished.rename(data)
    _keep_rename(data.parent)


def _initdb(folder: Path, binaries: Path, account: Account, *, durable: bool, lock: int) -> None:
    major = _major(version_of(binaries))
    command: list[str | Path] = [
        binaries / "initdb",
        "-D",
        folder,
        "-U",
        SUPERUSER,
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    command += [*_locale(major), *([] if durable else ["--no-sync"])]
    arguments = account.process_arguments(folder.parent) | {"pass_fds": (lock,), "timeout": INITDB_SECONDS}
    try:
        subprocess.run(command, capture_output=True, check=True, **arguments)
    except (OSError, subprocess.SubprocessError) as error:
        output = (getattr(error, "stderr", None) or b"").decode(errors="replace")
        raise EmbeddedPostgresError(f"could not create a database in {folder}: {error}\n{output}") from error


def _locale(major: int) -> list[str]:
    """The same sort order on every machine; the built-in one also knows letters beyond ASCII."""
    if major >= _BUILTIN_LOCALES_SINCE:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--no-locale"]


def _major(version: str) -> int:
    return int("".join(c if c.isdigit() else " " for c in version).split()[0])


def _keep_rename(folder: Path) -> None:
    """A power cut after this must not lose the folder's new name, and with it the data."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_version(data: Path, binaries: Path) -> None:
    """Refuse data of another major version, which the server could not read."""
    made_by = (data / "PG_VERSION").read_text().strip()
    ours = _major(version_of(binaries))
    if made_by != str(ours):
        raise EmbeddedPostgresError(
            f"the data in {data} was made by PostgreSQL {made_by}, and the programs here are {ours}: point "
            f"HUAJUAN_PG_BIN at the programs of {made_by}, or move the data with pg_upgrade or pg_dumpall."
        )


def take_over(data: Path, account: Account) -> None:
    """Data whose owner this system does not know, say of an earlier container, is given to the account."""
    if account.is_other and data.stat().st_uid != account.uid:
        for path in [data, *data.rglob("*")]:
            account.give(path)


def clear_reused_pids(data: Path, socket_folder: Path) -> None:
    """Remove lock files that name a process which is alive but not this server, or a zombie.

    The server refuses to start over those, as after a container's restart. One that names no process
    at all it clears itself. Call only with the server's own lock in hand: then no backend is left either.
    """
    for path in (data / "postmaster.pid", socket_folder / ".s.PGSQL.5432.lock"):
        entry = read_pid_file(path)
        if entry and exists(entry.pid) and not serves(entry.pid, data):
            with suppress(FileNotFoundError):
                path.unlink()
