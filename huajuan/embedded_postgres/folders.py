"""Make the folders of a server: closed to others, but passable for the account the server runs as."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from huajuan.embedded_postgres.account import Account
from huajuan.embedded_postgres.errors import EmbeddedPostgresError

# A socket's whole path must fit in 104 bytes on the tightest system; its name takes 14 of them.
SOCKET_FOLDER_BYTES = 88
CLOSED_MODE = 0o700
PASSABLE_MODE = 0o711


def make_root(root: Path) -> None:
    """Make the folder and its missing parents; as root others may pass through, but not list them."""
    try:
        make_folders(root)
        writable = os.access(root, os.W_OK | os.X_OK)
    except OSError as error:
        raise _unwritable(root, error.strerror or str(error)) from error
    if not writable:
        raise _unwritable(root, "no permission to write")


def make_folders(folder: Path) -> list[Path]:
    """Make the folder and its missing parents, whatever the umask is. Returns those that were missing, parents first.

    As root they can be passed through by others, but not listed.
    """
    mode = PASSABLE_MODE if os.geteuid() == 0 else CLOSED_MODE
    missing = [path for path in reversed([folder, *folder.parents]) if not path.is_dir()]
    for path in missing:
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    return missing


def _unwritable(root: Path, why: str) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"the database cannot be kept in {root} ({why}): "
        "set HUAJUAN_DATA_DIR to a folder you may write to, or HUAJUAN_DATABASE_URL."
    )


def let_pass(root: Path, account: Account) -> None:
    """See that the account can reach the root; only the root itself is opened, never a folder above it."""
    if account.is_other and not account.can_enter(root):
        if root.stat().st_uid == os.geteuid():
            root.chmod(stat.S_IMODE(root.stat().st_mode) | 0o011)
        if not account.can_enter(root):
            raise EmbeddedPostgresError(
                f"the account {account.name!r}, which runs PostgreSQL for root, cannot get to {root}: "
                f"{_first_closed(root)} is closed to it. Set HUAJUAN_DATA_DIR elsewhere, or chmod o+x it."
            )


def _first_closed(root: Path) -> Path:
    for folder in reversed([root, *root.parents]):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return root


def make_private(folder: Path, account: Account) -> None:
    """A folder that only the server's account can enter."""
    folder.mkdir(exist_ok=True, mode=CLOSED_MODE)
    account.give(folder)
    folder.chmod(CLOSED_MODE)


def socket_folder(root: Path, uid: int) -> Path:
    """Below root, or a short folder in the temporary one where the path is too long for a socket.

    A comma, too, would be read as the start of a second folder by the server and its clients.
    """
    folder = root / "run"
    if len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES and "," not in str(folder):
        return folder
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"huajuan-{uid}-{name}"


def make_socket_folder(folder: Path, account: Account) -> None:
    """Make it, or accept one that is there only if it is the account's own, and no link."""
    try:
        folder.mkdir(mode=CLOSED_MODE)
        account.give(folder)
    except FileExistsError:
        _refuse_foreign(folder, account)
    folder.chmod(CLOSED_MODE)


def _refuse_foreign(folder: Path, account: Account) -> None:
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
        account.give(folder)
    elif not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid:
        raise EmbeddedPostgresError(
            f"{folder}, where the database's socket belongs, is somebody else's: "
            "remove it, or set HUAJUAN_DATA_DIR to a folder with a shorter path."
        )
