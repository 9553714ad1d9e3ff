"""Creates the folders of a server: private, but traversable for the account that the server runs as."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from huajuan.embedded_postgres.account import SystemAccount
from huajuan.embedded_postgres.processes import EmbeddedPostgresError

# A socket's path is limited to 104 bytes on some systems; its file name takes 14 of them.
SOCKET_FOLDER_BYTES = 88
PRIVATE_MODE = 0o700
TRAVERSABLE_MODE = 0o711


def make_root(root: Path) -> None:
    """Creates the folder and its missing parents. As root, others may pass through them but not list them."""
    try:
        make_folders(root)
        writable = os.access(root, os.W_OK | os.X_OK)
    except OSError as error:
        raise _unwritable(root, error.strerror or str(error)) from error
    if not writable:
        raise _unwritable(root, "no permission to write")


def make_folders(folder: Path) -> list[Path]:
    """Creates the folder and its missing parents, independent of the umask.

    Returns the created ones, parents first.

    As root, others may pass through them but not list them.
    """
    mode = TRAVERSABLE_MODE if os.geteuid() == 0 else PRIVATE_MODE
    missing = [path for path in reversed([folder, *folder.parents]) if not path.is_dir()]
    for path in missing:
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    return missing


def _unwritable(root: Path, why: str) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"the database cannot be stored in {root} ({why}): "
        "set HUAJUAN_DATA_DIR to a folder you may write to, or HUAJUAN_DATABASE_URL."
    )


def ensure_access(root: Path, account: SystemAccount) -> None:
    """Lets the account pass through the root folder. Raises `EmbeddedPostgresError` if a parent is closed."""
    if account.is_other and not account.can_enter(root):
        if root.stat().st_uid == os.geteuid():
            root.chmod(stat.S_IMODE(root.stat().st_mode) | 0o011)
        if not account.can_enter(root):
            raise EmbeddedPostgresError(
                f"the account {account.name!r}, which runs PostgreSQL for root, cannot enter {root}: "
                f"{_first_closed(root)} is closed to it. Set HUAJUAN_DATA_DIR elsewhere, or chmod o+x it."
            )


def _first_closed(root: Path) -> Path:
    for folder in reversed([root, *root.parents]):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return root


def make_private(folder: Path, account: SystemAccount) -> None:
    """Creates a folder that only the server's account can enter."""
    folder.mkdir(exist_ok=True, mode=PRIVATE_MODE)
    account.give(folder)
    folder.chmod(PRIVATE_MODE)


def socket_folder(root: Path, uid: int) -> Path:
    """`run` below root, or a folder in the temporary folder if the path is too long for a socket or has a
    comma.

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
        _check_owner(folder, account)
    folder.chmod(PRIVATE_MODE)


def _check_owner(folder: Path, account: SystemAccount) -> None:
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
        account.give(folder)
    elif not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid:
        raise EmbeddedPostgresError(
            f"{folder}, the folder for the database's socket, belongs to another account: "
            "remove it, or set HUAJUAN_DATA_DIR to a folder with a shorter path."
        )
