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
SUBFOLDERS = ("pictures", "pictures/avatars", "postgres", "timelines")


class StartingFolder:
    """The data folder while a server starts. A start that fails removes what it made; `keep` ends that."""

    def __init__(self, folder: Path, made: Sequence[Path]) -> None:
        self._folder = folder
        self._made = list(made)
        self._is_kept = False

    def keep(self) -> None:
        """From now on the server serves, and everything stays."""
        self._is_kept = True

    def also_made(self, folders: Sequence[Path]) -> None:
        """Folders that go again with the others, unless something is in them."""
        self._made.extend(folders)

    def clear(self) -> None:
        """Databases and pictures stay in any case: what holds them may be known elsewhere."""
        if self._is_kept:
            return
        if self._folder in self._made and not (self._folder / "postgres" / "pgdata").exists():
            for path in (*self._folder.glob("timelines/*"), self._folder / "signing.key"):
                path.unlink(missing_ok=True)
        subfolders = [self._folder / name for name in SUBFOLDERS] if self._folder in self._made else []
        _remove_empty([*self._made, *subfolders])


@contextmanager
def data_folder_made(folder: Path) -> Iterator[StartingFolder]:
    """Make the data folder and its missing parents; what a failed start made is removed again.

    As root others can pass through it, because the database runs as an account of its own; nobody else can list it.
    Raises `SettingsError`.
    """
    try:
        missing = make_folders(folder)
        _let_others_pass(folder)
    except OSError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {folder} cannot be made: {error.strerror}") from None
    starting = StartingFolder(folder, missing)
    try:
        yield starting
    finally:
        starting.clear()


def _let_others_pass(folder: Path) -> None:
    """Opens a folder of root's that was made beforehand, as long as nothing is in it."""
    status = folder.stat()
    if status.st_uid == os.geteuid() == 0 and not any(folder.iterdir()):
        folder.chmod(stat.S_IMODE(status.st_mode) | 0o011)


def missing_folders(place: str) -> list[Path]:
    """Of a picture store in a folder: what is not there yet of its path and of its own folder for avatars."""
    if "://" in place:
        return []
    folder = Path(place).absolute()
    return [path for path in reversed([folder / "avatars", folder, *folder.parents]) if not path.exists()]


def _remove_empty(folders: Sequence[Path]) -> None:
    """Those within others first."""
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
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
