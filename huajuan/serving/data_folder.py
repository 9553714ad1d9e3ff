"""The data folder: where the embedded database, the pictures and the keys are kept."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from huajuan.embedded_postgres.folders import make_folders
from huajuan.settings import PREFIX, SettingsError

SECRET_BYTES = 48
HEAD_KEY_BYTES = 32
# Made by what comes after: a start that fails may leave them empty.
SUBFOLDERS = ("pictures", "pictures/avatars", "postgres")


@contextmanager
def data_folder_made(folder: Path) -> Iterator[None]:
    """Make the data folder and its missing parents. Those that are empty at the end are removed again.

    As root others can pass through it, because the database runs as an account of its own; nobody else can list it.
    Raises `SettingsError`.
    """
    try:
        missing = make_folders(folder)
        _let_others_pass(folder)
    except OSError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {folder} cannot be made: {error.strerror}") from None
    try:
        yield
    finally:
        _remove_empty([*missing, *(folder / name for name in SUBFOLDERS)] if missing else [])


def _let_others_pass(folder: Path) -> None:
    """Opens a folder of root's that was made beforehand, as long as nothing is in it."""
    status = folder.stat()
    if status.st_uid == os.geteuid() == 0 and not any(folder.iterdir()):
        folder.chmod(stat.S_IMODE(status.st_mode) | 0o011)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


def signing_key(folder: Path) -> str:
    """What tokens are signed with."""
    return _kept(folder / "signing.key", lambda: secrets.token_urlsafe(SECRET_BYTES))


def head_key(folder: Path) -> bytes:
    """What heads of the log are signed with: the 32 bytes of an Ed25519 key."""
    path = folder / "head.key"
    try:
        key = bytes.fromhex(_kept(path, lambda: secrets.token_hex(HEAD_KEY_BYTES)))
    except ValueError:
        key = b""
    if len(key) != HEAD_KEY_BYTES:
        raise SettingsError(f"{path} holds no key: {HEAD_KEY_BYTES} bytes in hexadecimal are expected")
    return key


def _kept(path: Path, make: Callable[[], str]) -> str:
    """Made once, and the same for every process that asks."""
    if not path.exists():
        _write_once(path, make())
    return path.read_text().strip()


def _write_once(path: Path, secret: str) -> None:
    """Whole or not at all, and whoever is first wins."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
