"""The data folder: where the embedded database, the pictures and the signing key are kept."""

import os
import secrets
from pathlib import Path

from huajuan.settings import PREFIX, SettingsError

SECRET_BYTES = 48


def make_data_folder(folder: Path) -> Path:
    """Others may pass through as root, for the database runs as an account of its own; nobody may look in."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {folder} cannot be made: {error.strerror}") from None
    return folder


def signing_key(folder: Path) -> str:
    """Made once, and the same for every process that asks."""
    path = folder / "signing.key"
    if not path.exists():
        _write_once(path, secrets.token_urlsafe(SECRET_BYTES))
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
