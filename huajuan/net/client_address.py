"""Parses network addresses and the forwarding headers of proxies."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# One subscriber usually has a whole /64 of IPv6.
IPV6_SUBSCRIBER_BITS = 64
# Longer chains of proxies than this are not followed.
HOPS_MAX = 32
# Of a longer header only the end is read, which the nearest proxies wrote.
CHARACTERS_MAX = 8192
ADDRESS_CHARACTERS_MAX = 64
_PORT = r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)"
_IN_BRACKETS = re.compile(rf"\[([^\]]*)\](?:{_PORT})?")
_WITH_PORT = re.compile(rf"([0-9.]+){_PORT}")
_PAIR = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read_address(text: str) -> Address | None:
    """The canonical address, or `None`: an IPv4-mapped one is IPv4, and a zone is dropped."""
    return _read_address(text) if len(text) <= ADDRESS_CHARACTERS_MAX else None


@lru_cache(maxsize=4096)
def _read_address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def read_network(text: str) -> Network:
    """An address or a network such as `10.0.0.0/8`. Raises `ValueError`."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def is_loopback(text: str) -> bool:
    address = read_address(text)
    return address is not None and address.is_loopback


def rate_limit_key(text: str) -> str:
    """The key of a rate limit per client: an IPv4 address, or the /64 of an IPv6 address."""
    address = read_address(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_SUBSCRIBER_BITS), strict=False))
    return str(address) if address else text


class TrustedProxies:
    """The proxies whose forwarding headers are trusted. Raises `ValueError` for what is no network."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [read_network(network) for network in networks]

    def trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded: Sequence[str], x_forwarded_for: Sequence[str]) -> str:
        """The address of the rightmost hop that is not trusted, or of the leftmost hop if all are trusted.

        It is the peer's address where the headers have no hop, or a hop without a valid address.
        """
        address = read_address(peer)
        if not self.trusts(address):
            return str(address or peer)
        client = address
        # The last hop first; `None` is a hop without an address. Elements of `X-Forwarded-For` are addresses.
        hops = [_hop_of(element) for element in _elements(forwarded)]
        for hop in hops or [_node(element) for element in _elements(x_forwarded_for)]:
            if hop is None:
                return str(address)
            client = hop
            if not self.trusts(hop):
                break
        return str(client)


def _elements(lines: Sequence[str]) -> list[str]:
    """The elements of the list, the last one first, without empty ones.

    The list is read from its end, which a trusted proxy wrote. A client may have written the beginning, and
    an open quotation mark there must not hide the elements that a proxy appended.
    """
    text = ",".join(lines)[-CHARACTERS_MAX:]
    return list(islice((part for part in _parts(text, ",") if part), HOPS_MAX))


def _parts(text: str, separator: str) -> Iterator[str]:
    """Splits at separators outside of quoted strings, from the end."""
    end, is_quoted = len(text), False
    for at in range(len(text) - 1, -1, -1):
        letter = text[at]
        if letter == '"' and not (is_quoted and _is_escaped(text, at)):
            is_quoted = not is_quoted
        elif letter == separator and not is_quoted:
            yield text[at + 1 : end].strip(" \t")
            end = at
    yield text[:end].strip(" \t")


def _is_escaped(text: str, at: int) -> bool:
    """Whether an odd number of backslashes precedes the character."""
    start = at
    while start and text[start - 1] == "\\":
        start -= 1
    return (at - start) % 2 == 1


def _hop_of(element: str) -> Address | None:
    """The address of the parameter `for`, which an element must have exactly once."""
    pairs = [_PAIR.fullmatch(part) for part in _parts(element, ";") if part]
    values = [pair[2] for pair in pairs if pair and pair[1].lower() == "for"]
    return _node(_unquoted(values[0])) if len(values) == 1 and all(pairs) else None


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return _ESCAPED.sub(r"\1", value[1:-1])
    return value


def _node(text: str) -> Address | None:
    """An address with or without a port. With a port, an IPv6 address is in brackets."""
    if match := _IN_BRACKETS.fullmatch(text):
        return read_address(match[1]) if ":" in match[1] else None
    match = _WITH_PORT.fullmatch(text)
    return read_address(match[1] if match else text)
