"""The data folder: where the embedded database, the pictures and the keys are kept."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from huajuan.settings import PREFIX, SettingsError

SECRET_BYTES = 48
HEAD_KEY_BYTES = 32


def make_data_folder(folder: Path) -> Path:
    """Others may pass through as root, for the database runs as an account of its own; nobody may look in."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {folder} cannot be made: {error.strerror}") from None
    return folder


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
