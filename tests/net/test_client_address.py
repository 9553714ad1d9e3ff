"""The address of a client behind trusted proxies."""

import pytest

from huajuan.net.client_address import TrustedProxies, is_loopback, rate_limit_key, read_address

PROXIES = TrustedProxies(["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8:1::/48"])
PEER = "10.0.0.1"
CLIENT = "203.0.113.9"
V6 = "2001:db8:cafe::17"


def forwarded(*lines: str, peer: str = PEER) -> str:
    return PROXIES.client(peer, lines, ())


def x_forwarded_for(*lines: str, peer: str = PEER) -> str:
    return PROXIES.client(peer, (), lines)


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["203.0.113.9"], CLIENT),
        (["203.0.113.9, 10.0.0.7"], CLIENT),
        (["203.0.113.9", "10.0.0.7"], CLIENT),
        (["198.51.100.1, 203.0.113.9, 10.0.0.7, 127.0.0.1"], CLIENT),
        (["nonsense, 203.0.113.9"], CLIENT),
        ([" 203.0.113.9 ,, \t10.0.0.7 ,"], CLIENT),
        (["203.0.113.9:4711"], CLIENT),
        (["::ffff:203.0.113.9"], CLIENT),
        (["[::ffff:203.0.113.9]:80"], CLIENT),
        (["::FFFF:cb00:7109"], CLIENT),
        ([V6], V6),
        (["2001:DB8:CAFE:0::17"], V6),
        ([f"[{V6}]"], V6),
        ([f"[{V6}]:4711"], V6),
        (["fe80::1%eth0"], "fe80::1"),
        (["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        (["2001:db8:1::5"], "2001:db8:1::5"),
    ],
)
def test_the_rightmost_untrusted_hop_is_the_client(lines: list[str], client: str) -> None:
    assert x_forwarded_for(*lines) == client


@pytest.mark.parametrize(
    "text",
    [
        "nonsense", "unknown", "_hidden", "203.0.113", "203.0.113.999", "203.0.113.09", "1.2.3.4:",
        "1.2.3.4:x y", "[203.0.113.9]", "[::1", "::1]", '"203.0.113.9"', "203.0.113.9%eth0", "0x7f000001",
        "x" * 70_000, "\x00", "", ",", "nonsense, 10.0.0.7", "203.0.113.9 203.0.113.10", "localhost",
        "１.2.3.4",
    ],
)  # fmt: skip
def test_garbage_means_the_peer(text: str) -> None:
    assert x_forwarded_for(text) == PEER


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["for=203.0.113.9"], CLIENT),
        (["For=203.0.113.9"], CLIENT),
        (["FOR=203.0.113.9;PROTO=https;By=10.0.0.1"], CLIENT),
        (["proto=https; for=203.0.113.9 ;host=example.org"], CLIENT),
        (['for="203.0.113.9"'], CLIENT),
        (['for="203.0.113.9:4711"'], CLIENT),
        (["for=203.0.113.9:4711"], CLIENT),
        (['for="203.0.113.9:_port"'], CLIENT),
        (['for="203\\.0.113.9"'], CLIENT),
        ([f'for="[{V6}]"'], V6),
        ([f'for="[{V6}]:4711"'], V6),
        ([f'FOR="[{V6.upper()}]:_obf"'], V6),
        (["for=198.51.100.1, for=203.0.113.9, for=10.0.0.7"], CLIENT),
        (["for=198.51.100.1", "for=203.0.113.9", "for=127.0.0.1"], CLIENT),
        (['host="a,b;c";for=203.0.113.9'], CLIENT),
        (['for=203.0.113.9;host="a, for=198.51.100.1"'], CLIENT),
        (['for=203.0.113.9;host="a\\", for=198.51.100.1"'], CLIENT),
        (["nonsense, for=203.0.113.9"], CLIENT),
        (["for=203.0.113.9,, ,"], CLIENT),
        # The text of a client must not hide what a proxy appended.
        (['for="198.51.100.1, for=203.0.113.9'], CLIENT),
        (['for=198.51.100.1;host=", for="203.0.113.9"'], CLIENT),
        (['for="\\\\\\, for="203.0.113.9"'], CLIENT),
    ],
)
def test_forwarded_is_read_as_it_is_specified(lines: list[str], client: str) -> None:
    assert forwarded(*lines) == client


@pytest.mark.parametrize(
    "line",
    [
        "for=unknown", "for=_hidden", 'for="_SEVKISEK"', "for=", "for", "for=;for=", "proto=https",
        "=203.0.113.9", "for=203.0.113.9;for=203.0.113.9", "203.0.113.9", "for:203.0.113.9",
        'for="203.0.113.9', "for=203.0.113.9;x", "for=_hidden, for=10.0.0.7", "for=203.0.113.9, proto=https",
        "for=[nonsense]",
    ],
)  # fmt: skip
def test_forwarded_garbage_means_the_peer(line: str) -> None:
    assert forwarded(line) == PEER


def test_forwarded_comes_before_x_forwarded_for_and_an_empty_one_does_not_count() -> None:
    assert PROXIES.client(PEER, ["for=203.0.113.9"], ["198.51.100.1"]) == CLIENT
    assert PROXIES.client(PEER, ["for=_hidden"], ["198.51.100.1"]) == PEER
    assert PROXIES.client(PEER, ["", " , "], ["203.0.113.9"]) == CLIENT


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8:2::1", "::ffff:192.0.2.1"])
def test_a_peer_that_is_not_trusted_is_the_client(peer: str) -> None:
    own = str(read_address(peer))
    assert forwarded("for=203.0.113.9", peer=peer) == own
    assert x_forwarded_for("203.0.113.9", peer=peer) == own


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "::1", "::ffff:10.1.2.3", "2001:db8:1:ffff::1", "10.255.255.255"]
)
def test_a_trusted_peer_is_one_in_any_spelling(peer: str) -> None:
    assert x_forwarded_for("203.0.113.9", peer=peer) == CLIENT


def test_a_trusted_network_may_be_written_as_mapped() -> None:
    proxies = TrustedProxies(["::ffff:192.0.2.0/120", "::ffff:198.51.100.7"])
    assert proxies.client("192.0.2.77", (), ["203.0.113.9"]) == CLIENT
    assert proxies.client("198.51.100.7", (), ["203.0.113.9"]) == CLIENT
    assert proxies.client("198.51.100.8", (), ["203.0.113.9"]) == "198.51.100.8"


def test_a_peer_without_an_address_is_itself() -> None:
    assert x_forwarded_for("203.0.113.9", peer="testclient") == "testclient"


def test_the_number_of_hops_is_bounded() -> None:
    assert x_forwarded_for(*["203.0.113.9", ", ".join(["10.0.0.2"] * 50_000)]) == "10.0.0.2"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("nobody", "nobody"),
        ("", ""),
    ],
)
def test_limits_count_ipv6_by_64_bits(address: str, counted: str) -> None:
    assert rate_limit_key(address) == counted


def test_loopback_is_known_in_any_spelling() -> None:
    assert all(is_loopback(text) for text in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"))
    assert not any(is_loopback(text) for text in ("", "localhost", "10.0.0.1", "2001:db8::1"))
