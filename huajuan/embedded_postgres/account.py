"""Decide which system account the server runs as, because PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huajuan.embedded_postgres.errors import EmbeddedPostgresError

SERVICE_ACCOUNT = "huajuan"
COMMAND_SECONDS = 30
# The first is shadow-utils' way, the second that of busybox.
_WAYS_TO_ADD = (
    ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVICE_ACCOUNT],
    ["adduser", "-S", "-H", "-D", SERVICE_ACCOUNT],
)


@dataclass(frozen=True)
class Account:
    """The user and group ids of the server's process, and whether they are another's than ours."""

    name: str
    uid: int
    gid: int
    is_other: bool

    def process_arguments(self, home: Path) -> dict[str, Any]:
        """Keywords for `subprocess`: a bare environment, and the account when it is not ours."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(home)}
        arguments: dict[str, Any] = {"cwd": "/", "env": environment, "stdin": subprocess.DEVNULL}
        if self.is_other:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    def succeeds(self, *command: str | Path) -> bool:
        """Whether the account can run the command and it exits with 0."""
        try:
            return self._run(*command).returncode == 0
        except OSError:
            return False

    def _run(self, *command: str | Path) -> "subprocess.CompletedProcess[bytes]":
        arguments = self.process_arguments(Path("/"))
        return subprocess.run(command, capture_output=True, check=False, timeout=COMMAND_SECONDS, **arguments)

    def can_enter(self, folder: Path) -> bool:
        """Whether the account can pass through every folder down to this one."""
        return self.succeeds("/bin/sh", "-c", 'cd -- "$1"', "sh", folder)

    def give(self, path: Path) -> None:
        """Make the account the owner of one path, when it is not ours already."""
        if self.is_other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_account(data: Path, say: Callable[[str], None]) -> Account:
    """Ourselves; or as root the owner of existing data, else the service account, made when missing.

    `say` is told of an account that is added.
    """
    if os.geteuid() != 0:
        return Account(own_name(), os.geteuid(), os.getegid(), is_other=False)
    entry = _owner_of(data) or _existing(SERVICE_ACCOUNT) or _added(say) or _existing("nobody")
    if entry is None or entry.pw_uid == 0:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root, and there is no other account to run it as: "
            f"add one with `useradd --system {SERVICE_ACCOUNT}`, or set HUAJUAN_DATABASE_URL."
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, is_other=True)


def own_name() -> str:
    """initdb needs the account to have an entry in the system's user list, so say so before it does."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL needs its account to have a name, and uid {os.geteuid()} has none in /etc/passwd: "
            "add one, or set HUAJUAN_DATABASE_URL to a server that runs elsewhere."
        ) from None


def _owner_of(data: Path) -> pwd.struct_passwd | None:
    """A person's own data stays theirs when root comes by; an owner unknown here counts as none."""
    with suppress(OSError, KeyError):
        entry = pwd.getpwuid(data.stat().st_uid)
        return entry if entry.pw_uid != 0 else None
    return None


def _existing(name: str) -> pwd.struct_passwd | None:
    with suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def _added(say: Callable[[str], None]) -> pwd.struct_passwd | None:
    for command in _WAYS_TO_ADD:
        if shutil.which(command[0]):
            say(f"adding the system account {SERVICE_ACCOUNT!r}, for PostgreSQL refuses to run as root")
            subprocess.run(command, capture_output=True, check=False, timeout=COMMAND_SECONDS)
            if entry := _existing(SERVICE_ACCOUNT):
                return entry
    return None
