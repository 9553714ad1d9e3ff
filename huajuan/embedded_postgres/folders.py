"""The folders of a server: private, but traversable for its account; its data is created atomically."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from huajuan.embedded_postgres.account import SystemAccount
from huajuan.embedded_postgres.binaries import version_of
from huajuan.embedded_postgres.processes import EmbeddedPostgresError, exists, read_pid_file, serves

INITDB_SECONDS = 120
SUPERUSER = "postgres"
# A socket's path is limited to 104 bytes on some systems; its file name takes 14 of them.
SOCKET_FOLDER_BYTES = 88
PRIVATE_MODE = 0o700
TRAVERSABLE_MODE = 0o711
_BUILTIN_LOCALES_SINCE = 17


def make_root(root: Path) -> None:
    """Creates the folder and its missing parents. As root, others may pass through them but not list them."""
    try:
        make_folders(root)
        why = "" if os.access(root, os.W_OK | os.X_OK) else "no permission to write"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise EmbeddedPostgresError(
            f"the database cannot be stored in {root} ({why}): "
            "set HUAJUAN_DATA_DIR to a folder you may write to, or HUAJUAN_DATABASE_URL."
        )


def make_folders(folder: Path) -> list[Path]:
    """Creates the folder and its missing parents, whatever the umask. Returns those, parents first.

    As root, others may pass through them but not list them.
    """
    mode = TRAVERSABLE_MODE if os.geteuid() == 0 else PRIVATE_MODE
    missing = [path for path in reversed([folder, *folder.parents]) if not path.is_dir()]
    for path in missing:
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    return missing


def ensure_access(root: Path, account: SystemAccount) -> None:
    """Lets the account pass through the root folder. Raises `EmbeddedPostgresError` if a parent is closed."""
    if not account.is_other or account.can_enter(root):
        return
    if root.stat().st_uid == os.geteuid():
        root.chmod(stat.S_IMODE(root.stat().st_mode) | 0o011)
    if not account.can_enter(root):
        folders = reversed([root, *root.parents])
        closed = next((folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH), root)
        raise EmbeddedPostgresError(
            f"the account {account.name!r}, which runs PostgreSQL for root, cannot enter {root}: "
            f"{closed} is closed to it. Set HUAJUAN_DATA_DIR elsewhere, or chmod o+x it."
        )


def socket_folder(root: Path, uid: int) -> Path:
    """`run` below root, or a temporary folder if the path is too long for a socket or has a comma.

    The server and its clients would read a comma as the start of a second folder.
    """
    folder = root / "run"
    if len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES and "," not in str(folder):
        return folder
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"huajuan-{uid}-{name}"


def make_socket_folder(folder: Path, account: SystemAccount) -> None:
    """Creates it; accepts an existing one only if it belongs to the account and is not a link."""
    try:
        folder.mkdir(mode=PRIVATE_MODE)
        account.give(folder)
    except FileExistsError:
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            account.give(folder)
        elif not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid:
            raise EmbeddedPostgresError(
                f"{folder}, the folder for the database's socket, belongs to another account: "
                "remove it, or set HUAJUAN_DATA_DIR to a folder with a shorter path."
            ) from None
    folder.chmod(PRIVATE_MODE)


def create_data(data: Path, binaries: Path, account: SystemAccount, *, durable: bool, lock: int) -> None:
    """Runs initdb in a folder with another name, then renames it, so that an incomplete one is never started.

    initdb inherits the lock: if this process is killed, the next one waits until initdb has ended too.
    """
    unfinished = data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(exist_ok=True, mode=PRIVATE_MODE)
    account.give(unfinished)
    unfinished.chmod(PRIVATE_MODE)
    _initdb(unfinished, binaries, account, durable=durable, lock=lock)
    unfinished.rename(data)
    # Makes the rename durable, so that a power cut does not lose the data.
    descriptor = os.open(data.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _initdb(folder: Path, binaries: Path, account: SystemAccount, *, durable: bool, lock: int) -> None:
    """With the same sort order on every machine; the built-in locale also knows letters beyond ASCII."""
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    locale = builtin if _major(binaries) >= _BUILTIN_LOCALES_SINCE else ["--no-locale"]
    options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", *locale, *([] if durable else ["--no-sync"])]
    arguments = account.process_arguments(folder.parent) | {"pass_fds": (lock,), "timeout": INITDB_SECONDS}
    try:
        command: list[str | Path] = [binaries / "initdb", "-D", folder, *options]
        subprocess.run(command, capture_output=True, check=True, **arguments)
    except (OSError, subprocess.SubprocessError) as error:
        output = (getattr(error, "stderr", None) or b"").decode(errors="replace")
        raise EmbeddedPostgresError(f"could not create a database in {folder}: {error}\n{output}") from error


def _major(binaries: Path) -> int:
    version = version_of(binaries)
    return int("".join(c if c.isdigit() else " " for c in version).split()[0])


def check_version(data: Path, binaries: Path) -> None:
    """Raises `EmbeddedPostgresError` for data of another major version, which the server cannot read."""
    created_by, ours = (data / "PG_VERSION").read_text().strip(), _major(binaries)
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
