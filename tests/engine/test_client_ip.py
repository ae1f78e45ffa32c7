"""The client IP, through trusted proxies only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asok_auth_core.engine.client_ip import client_ip, client_network

pytestmark = pytest.mark.requirement("SECURITY-33")

PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("remote", "forwarded", "trusted", "client"),
    [
        ("192.0.2.1", None, None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", [PROXY], "192.0.2.1"),
        (PROXY, "198.51.100.9", [PROXY], "198.51.100.9"),
        (PROXY, "198.51.100.9", ["10.0.0.0/8"], "198.51.100.9"),
        (PROXY, "203.0.113.7, 198.51.100.9", [PROXY], "198.51.100.9"),
        (PROXY, "203.0.113.7, 198.51.100.9, 10.0.0.2", ["10.0.0.0/8"], "198.51.100.9"),
        (PROXY, "10.0.0.3", ["10.0.0.0/8"], "10.0.0.3"),
        (PROXY, "203.0.113.7, nonsense", [PROXY], PROXY),
        (PROXY, "", [PROXY], PROXY),
        ("192.0.2.1", "203.0.113.7, 198.51.100.9", ["*"], "198.51.100.9"),
        ("192.0.2.1", "nonsense", ["*"], "192.0.2.1"),
        ("", "198.51.100.9", [PROXY], ""),
        (PROXY, "198.51.100.9", ["not a network", PROXY], "198.51.100.9"),
    ],
)
def test_the_client_ip_comes_from_trusted_proxies_only(
    remote: str, forwarded: str | None, trusted: list[str] | None, client: str
) -> None:
    assert client_ip(remote, forwarded, trusted) == client


@given(forged=st.text(max_size=60).filter(lambda text: "\0" not in text))
def test_a_forged_forwarded_header_gains_nothing(forged: str) -> None:
    assert client_ip(PROXY, f"{forged}, 198.51.100.9", [PROXY]) == "198.51.100.9"


def test_ipv6_is_counted_per_64_prefix() -> None:
    assert client_network("2001:db8:1:2::1") == client_network("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert client_network("2001:db8:1:3::1") != client_network("2001:db8:1:2::1")
    assert client_network("::ffff:192.0.2.1") == "192.0.2.1"
    assert client_network("192.0.2.1") == "192.0.2.1"
    assert client_network("") == ""
    assert len(client_network("x" * 10_000)) == 64
