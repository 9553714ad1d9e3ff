"""The system account that the server runs as: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huajuan.embedded_postgres.processes import EmbeddedPostgresError

SERVICE_ACCOUNT = "huajuan"
COMMAND_SECONDS = 30
# Of shadow-utils, and of busybox.
_ADD_COMMANDS = (
    ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVICE_ACCOUNT],
    ["adduser", "-S", "-H", "-D", SERVICE_ACCOUNT],
)


@dataclass(frozen=True)
class SystemAccount:
    """User and group ids of the server's process; `is_other` if they differ from those of this process."""

    name: str
    uid: int
    gid: int
    is_other: bool

    def process_arguments(self, home: Path) -> dict[str, Any]:
        """Arguments for `subprocess`: a minimal environment, and the account if it is another one."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(home)}
        arguments: dict[str, Any] = {"cwd": "/", "env": environment, "stdin": subprocess.DEVNULL}
        if self.is_other:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    def succeeds(self, *command: str | Path) -> bool:
        """Whether the account can run the command, and it exits with 0."""
        arguments = self.process_arguments(Path("/")) | {"capture_output": True, "timeout": COMMAND_SECONDS}
        with suppress(OSError):
            return subprocess.run(command, check=False, **arguments).returncode == 0
        return False

    def can_enter(self, folder: Path) -> bool:
        """Whether the account can pass through all folders down to this one."""
        return self.succeeds("/bin/sh", "-c", 'cd -- "$1"', "sh", folder)

    def give(self, path: Path) -> None:
        """Makes the account the owner of the path, if it is another account."""
        if self.is_other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_account(data: Path, on_status: Callable[[str], None]) -> SystemAccount:
    """The current account. As root: the owner of existing data, else the service account, which may be added.

    Calls `on_status` when it adds an account. Raises `EmbeddedPostgresError`.
    """
    if os.geteuid() != 0:
        return SystemAccount(own_name(), os.geteuid(), os.getegid(), is_other=False)
    entry = _owner_of(data) or _existing(SERVICE_ACCOUNT) or _add_account(on_status) or _existing("nobody")
    if entry is None or entry.pw_uid == 0:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root, and there is no other account to run it as: "
            f"add one with `useradd --system {SERVICE_ACCOUNT}`, or set HUAJUAN_DATABASE_URL."
        )
    return SystemAccount(entry.pw_name, entry.pw_uid, entry.pw_gid, is_other=True)


def own_name() -> str:
    """initdb needs an entry in the system's user list. Raises `EmbeddedPostgresError` without one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL needs its account to have a name, and uid {os.geteuid()} has none in /etc/passwd: "
            "add one, or set HUAJUAN_DATABASE_URL to a server that runs elsewhere."
        ) from None


def _owner_of(data: Path) -> pwd.struct_passwd | None:
    """The owner of existing data, if it is not root and has an entry in the user list."""
    with suppress(OSError, KeyError):
        entry = pwd.getpwuid(data.stat().st_uid)
        return entry if entry.pw_uid != 0 else None
    return None


def _existing(name: str) -> pwd.struct_passwd | None:
    with suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def _add_account(on_status: Callable[[str], None]) -> pwd.struct_passwd | None:
    reason = "because PostgreSQL refuses to run as root"
    for command in filter(lambda command: shutil.which(command[0]), _ADD_COMMANDS):
        on_status(f"adding the system account {SERVICE_ACCOUNT!r}, {reason}")
        subprocess.run(command, capture_output=True, check=False, timeout=COMMAND_SECONDS)
        if entry := _existing(SERVICE_ACCOUNT):
            return entry
    return None
