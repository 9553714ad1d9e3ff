"""Normalizes origins to the form of the `Origin` header of browsers."""

from ipaddress import ip_address
from urllib.parse import urlsplit

ANY, OPAQUE = "*", "null"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalized_origin(text: str) -> str:
    """For example `http://localhost:3000` for `HTTP://LocalHost:3000/`. Raises `ValueError`.

    `*` stands for any origin, `null` for the origin of a local file.
    """
    if text in (ANY, OPAQUE):
        return text
    parts = urlsplit(text)
    has_more = parts.path not in ("", "/") or "?" in text or "#" in text or "@" in parts.netloc
    if not parts.scheme or not parts.hostname or has_more or not text.isprintable() or set(text) & set(" *"):
        raise ValueError(text)
    port = f":{parts.port}" if parts.port not in (None, _DEFAULT_PORTS.get(parts.scheme)) else ""
    return f"{parts.scheme}://{_host(parts.hostname)}{port}"


def _host(name: str) -> str:
    """The form of browsers: IP addresses shortened, international names in ASCII."""
    if ":" in name:
        return f"[{ip_address(name)}]"
    if name.rpartition(".")[2].isdecimal():
        return str(ip_address(name))
    if name.isascii():
        return name
    encoded = name.encode("idna")
    if encoded.decode("idna") != name:  # browsers encode such a name differently
        raise ValueError(name)
    return encoded.decode()
