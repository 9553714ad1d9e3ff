"""The data folder with the embedded database, the pictures, the keys, and files shared by the workers."""

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from huajuan.embedded_postgres.folders import make_folders
from huajuan.embedded_postgres.processes import exists
from huajuan.settings import INTERNAL_PREFIX, PREFIX, SettingsError

SECRET_BYTES = 48
HEAD_KEY_BYTES = 32
# Created by later steps of a start; a start that fails may leave them empty.
SUBFOLDERS = ("pictures", "pictures/avatars", "postgres", "timelines")
CHANGES, METRICS = "changes", "metrics"
# The metrics library reads it at its import, so it must be set before a worker starts.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class DataFolderCreation:
    """The data folder during a start. `clear` removes what the start created, unless `keep` was called."""

    def __init__(self, folder: Path, created: Sequence[Path]) -> None:
        self._folder = folder
        self._created = list(created)
        self._is_kept = False

    def keep(self) -> None:
        """The start succeeded: everything stays."""
        self._is_kept = True

    def add_created(self, folders: Sequence[Path]) -> None:
        """More folders that `clear` removes if they are empty."""
        self._created.extend(folders)

    def clear(self) -> None:
        """Databases and pictures are never removed: another process may know them."""
        if self._is_kept:
            return
        empty = set(self._created)
        if self._folder in empty:
            empty.update(self._folder / name for name in SUBFOLDERS)
            if not (self._folder / "postgres" / "pgdata").exists():
                for path in (*self._folder.glob("timelines/*"), self._folder / "signing.key"):
                    path.unlink(missing_ok=True)
        # Inner folders first.
        for folder in sorted(empty, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def creating_data_folder(folder: Path) -> Iterator[DataFolderCreation]:
    """Creates the data folder and its missing parents; a failed start removes what it created.

    As root, others can pass through the folder but not list it, because the database runs as another account.
    Raises `SettingsError`.
    """
    try:
        missing = make_folders(folder)
        status = folder.stat()
        if status.st_uid == os.geteuid() == 0 and not any(folder.iterdir()):
            folder.chmod(stat.S_IMODE(status.st_mode) | 0o011)
    except OSError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {folder} cannot be created: {error.strerror}") from None
    starting = DataFolderCreation(folder, missing)
    try:
        yield starting
    finally:
        starting.clear()


def missing_folders(place: str) -> list[Path]:
    """The missing folders of a picture store's path, with its subfolder for avatars; none for a URL."""
    if "://" in place:
        return []
    folder = Path(place).absolute()
    return [path for path in reversed([folder / "avatars", folder, *folder.parents]) if not path.exists()]


def load_signing_key(folder: Path) -> str:
    """The secret that signs tokens."""
    return _read_or_create(folder / "signing.key", lambda: secrets.token_urlsafe(SECRET_BYTES))


def load_head_key(folder: Path) -> bytes:
    """The Ed25519 private key, 32 bytes, that signs heads of the log. Raises `SettingsError`."""
    path = folder / "head.key"
    try:
        key = bytes.fromhex(_read_or_create(path, lambda: secrets.token_hex(HEAD_KEY_BYTES)))
    except ValueError:
        key = b""
    if len(key) != HEAD_KEY_BYTES:
        raise SettingsError(f"{path} is not a key: {HEAD_KEY_BYTES} bytes in hexadecimal are expected")
    return key


def _read_or_create(path: Path, make: Callable[[], str]) -> str:
    """The content of the file. It is created atomically; the first of several processes wins."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    return path.read_text().strip()


@contextmanager
def shared_files(folder: Path) -> Iterator[None]:
    """Creates the files that the workers of this server share: the cache versions, and the metrics folder."""
    from huajuan.projections.registry import SCHEMAS
    from huajuan.response_cache.versions import create_versions_file

    _remove_files_of_dead_servers(folder)
    changes, metrics = create_versions_file(folder, SCHEMAS), folder / f"{METRICS}-{os.getpid()}"
    metrics.mkdir(mode=0o700, exist_ok=True)
    os.environ |= {f"{INTERNAL_PREFIX}CHANGES_FILE": str(changes), METRICS_FOLDER: str(metrics)}
    try:
        yield
    finally:
        del os.environ[f"{INTERNAL_PREFIX}CHANGES_FILE"], os.environ[METRICS_FOLDER]
        changes.unlink(missing_ok=True)
        shutil.rmtree(metrics, ignore_errors=True)


def _remove_files_of_dead_servers(folder: Path) -> None:
    """A killed server cannot remove its own files."""
    for path in (*folder.glob(f"{CHANGES}-*"), *folder.glob(f"{METRICS}-*")):
        number = path.name.partition("-")[2]
        if number.isdecimal() and exists(int(number)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
