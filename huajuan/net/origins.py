"""Origins as browsers write them in the `Origin` header."""

from ipaddress import ip_address
from urllib.parse import urlsplit

ANY, OPAQUE = "*", "null"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalized_origin(text: str) -> str:
    """`HTTP://LocalHost:3000/` is `http://localhost:3000`. `*` is any origin, `null` that of a page from a file.

    Raises `ValueError` for text that is no origin.
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
    """As browsers send it: IP addresses in their short form, international names in their ASCII form."""
    if ":" in name:
        return f"[{ip_address(name)}]"
    if name.rpartition(".")[2].isdecimal():
        return str(ip_address(name))
    if name.isascii():
        return name
    encoded = name.encode("idna")
    if encoded.decode("idna") != name:  # browsers encode such a name in another way
        raise ValueError(name)
    return encoded.decode()
