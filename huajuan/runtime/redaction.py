"""Removes passwords from database and storage addresses before they are shown."""

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

MASK = "***"
_SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_PORTS = re.compile(r"[0-9]*(,[0-9]*)*")
_USER_INFO = re.compile(r"(?<=://).*@", re.DOTALL)
_QUERY = re.compile(r"\?.*", re.DOTALL)


class DsnMalformed(Exception):
    """The message contains no part of the DSN, because each part may belong to the password."""

    def __init__(self) -> None:
        super().__init__(
            "it cannot be read: it must look like postgresql://USER:PASSWORD@HOST:PORT/DATABASE or "
            "host=… dbname=…; in a URL write / ? # @ : % of a password as %2F %3F %23 %40 %3A %25, "
            "in the other form put a value with blanks between single quotes"
        )


def parsed_dsn(dsn: str) -> dict[str, str]:
    """The parameters by name. Raises `DsnMalformed`, also where a password was read as another parameter."""
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        raise DsnMalformed from None
    misplaced = any("@" in found.get(name, "") for name in ("host", "hostaddr", "dbname"))
    if misplaced or not _PORTS.fullmatch(found.get("port", "")):
        raise DsnMalformed
    return found


def dsn_without_secrets(dsn: str) -> str:
    """The DSN as key=value pairs, each secret replaced by `***`. Raises `DsnMalformed`."""
    found = parsed_dsn(dsn)
    return make_conninfo("", **{name: MASK if name in _SECRETS else found[name] for name in found})


def without_dsn_secrets(message: str, dsn: str) -> str:
    """A message of the database client with each secret of the DSN replaced. Raises `DsnMalformed`."""
    found = parsed_dsn(dsn)
    for secret in filter(None, map(found.get, _SECRETS)):
        message = message.replace(secret, MASK)
    return message


def without_address_secrets(message: str, address: str) -> str:
    """A message about an address without its secrets; one that may quote another spelling is replaced."""
    shown = address_without_secrets(address)
    message = message.replace(address, shown)
    return message if shown == address or "@" not in message.replace(shown, "") else "it cannot be used"


def address_without_secrets(address: str) -> str:
    """An address without user information and query. A path is returned as it is."""
    if "://" not in address:
        return address
    return _QUERY.sub(f"?{MASK}", _USER_INFO.sub(f"{MASK}@", address))
