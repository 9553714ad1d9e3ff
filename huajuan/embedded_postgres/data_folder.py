"""Creates a server's data folder atomically, and rejects or repairs one that cannot be started."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from huajuan.embedded_postgres.account import SystemAccount
from huajuan.embedded_postgres.binaries import version_of
from huajuan.embedded_postgres.folders import make_private
from huajuan.embedded_postgres.processes import EmbeddedPostgresError, exists, read_pid_file, serves

INITDB_SECONDS = 120
SUPERUSER = "postgres"
_BUILTIN_LOCALES_SINCE = 17


def create_data(data: Path, binaries: Path, account: SystemAccount, *, durable: bool, lock: int) -> None:
    """Runs initdb in a folder with another name, then renames it, so that an incomplete one is never started.

    initdb inherits the lock: if this process is killed, the next one waits until initdb has ended too.
    """
    unfinished = data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_private(unfinished, account)
    _initdb(unfinished, binaries, account, durable=durable, lock=lock)
    unfinished.rename(data)
    _fsync_folder(data.parent)


def _initdb(folder: Path, binaries: Path, account: SystemAccount, *, durable: bool, lock: int) -> None:
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
    """The same sort order on every machine; the built-in locale also knows letters beyond ASCII."""
    if major >= _BUILTIN_LOCALES_SINCE:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--no-locale"]


def _major(version: str) -> int:
    return int("".join(c if c.isdigit() else " " for c in version).split()[0])


def _fsync_folder(folder: Path) -> None:
    """Makes the rename durable, so that a power cut does not lose the data."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_version(data: Path, binaries: Path) -> None:
    """Raises `EmbeddedPostgresError` for data of another major version, which the server cannot read."""
    created_by = (data / "PG_VERSION").read_text().strip()
    ours = _major(version_of(binaries))
    if created_by != str(ours):
        raise EmbeddedPostgresError(
            f"the data in {data} was created by PostgreSQL {created_by}, and the programs here are {ours}: "
            f"point HUAJUAN_PG_BIN at the programs of {created_by}, "
            "or move the data with pg_upgrade or pg_dumpall."
        )


def claim_ownership(data: Path, account: SystemAccount) -> None:
    """Gives the account data with another owner, for example from an earlier container."""
    if account.is_other and data.stat().st_uid != account.uid:
        for path in [data, *data.rglob("*")]:
            account.give(path)


def remove_stale_lock_files(data: Path, socket_folder: Path) -> None:
    """Removes lock files with the pid of a zombie, or of a live process that is not this server.

    The server does not start with those, for example after a container's restart; it removes files with a
    dead pid itself. The caller must have the server's lock, so that no backend is left.
    """
    for path in (data / "postmaster.pid", socket_folder / ".s.PGSQL.5432.lock"):
        entry = read_pid_file(path)
        if entry and exists(entry.pid) and not serves(entry.pid, data):
            with suppress(FileNotFoundError):
                path.unlink()
