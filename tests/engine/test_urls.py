"""Where browsers may be redirected, and which URLs the server may call."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asok_auth_core.engine.urls import is_listed, is_loopback, is_loopback_ip, is_secure, origin, safe_next

HERE = "https://app.example/auth/login"


@pytest.mark.requirement("SECURITY-16")
@pytest.mark.parametrize(
    "place", ["/", "/a", "/a/b?c=d&e=/f", "/a?next=https://b.example//x", "/a#b", "/caf%C3%A9"]
)
def test_paths_of_this_app_are_kept(place: str) -> None:
    assert safe_next(place) == place


@pytest.mark.requirement("SECURITY-16")
@pytest.mark.parametrize(
    ("decoded", "sent"),
    [
        ("/caf\u00e9", "/caf%C3%A9"),
        ("/search?q=\u00e9&p=1", "/search?q=%C3%A9&p=1"),
        ("/my page", "/my%20page"),
        ("/ a", "/%20a"),
        ('/a"b<c>', "/a%22b%3Cc%3E"),
        ("/100%", "/100%"),
        ("/\u3002evil", "/%E3%80%82evil"),
        ("/\uff0fevil.example", "/%EF%BC%8Fevil.example"),
    ],
)
def test_what_a_parameter_holds_decoded_is_encoded_again(decoded: str, sent: str) -> None:
    """A browser sends ?next=/caf%C3%A9, and the framework hands over /caf\u00e9."""
    assert safe_next(decoded) == sent
    assert safe_next(sent) == sent


@pytest.mark.requirement("SECURITY-16")
@pytest.mark.parametrize(
    "place",
    [
        None,
        "",
        "a",
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r//evil.example",
        " /a",
        "/a\x00",
        "/%00",
        "https://evil.example",
        "https:evil.example",
        "http:///evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://app.example@evil.example",
        "https://app.example.evil.example",
        "@evil.example",
        "/%2fevil.example",
        "/%2Fevil.example",
        "/%5cevil.example",
        "/%252f%252fevil.example",
        "/%25252525252fevil",
        "/a//b",
        "/..//evil.example",
        "/%09/evil.example",
        "/%0d%0aLocation:x",
        "/a\x7f",
        "/\udc80",
        "/" + "\u00e9" * 500,
        "/" + "a" * 3000,
    ],
)
def test_every_other_redirect_target_is_dropped(place: str | None) -> None:
    assert safe_next(place) is None


URLISH = st.text(alphabet="/\\:@?#%2fF5cC.ae\t\n\r xhtps09", max_size=40)


@pytest.mark.requirement("SECURITY-16")
@settings(max_examples=600)
@given(URLISH)
@example("/\\/evil.example")
@example("/%5c%5cevil")
def test_a_kept_target_stays_on_this_host_as_a_browser_reads_it(place: str) -> None:
    kept = safe_next(place)
    if kept is None:
        return
    # A browser drops tab and newline, and reads a backslash as a slash (WHATWG URL).
    seen = "".join(char for char in kept if char not in "\t\n\r").replace("\\", "/")
    assert urlsplit(urljoin(HERE, seen)).netloc == "app.example"
    assert not any(char in kept for char in "\r\n")


@pytest.mark.requirement("SECURITY-13")
@pytest.mark.parametrize(
    ("url", "in_debug", "in_production"),
    [
        ("https://login.example/x?y", True, True),
        ("https://login.example:8443/", True, True),
        ("http://127.0.0.1:8000/x", True, False),
        ("http://localhost/x", True, False),
        ("http://[::1]:99/", True, False),
        ("http://login.example/", False, False),
        ("http://127.0.0.1.evil.example/", False, False),
        ("http://localhost.evil.example/", False, False),
        ("http://0.0.0.0/", False, False),
        ("https://a@login.example/", False, False),
        ("https://login.example/#x", False, False),
        ("https://login.example\\@evil.example/", False, False),
        ("https://login.example/ x", False, False),
        ("https://login.example:port/", False, False),
        ("https:///x", False, False),
        ("file:///etc/passwd", False, False),
        ("ftp://login.example/", False, False),
        ("", False, False),
    ],
)
def test_only_https_or_loopback_in_debug_is_secure(url: str, in_debug: bool, in_production: bool) -> None:
    assert is_secure(url, debug=True) is in_debug
    assert is_secure(url, debug=False) is in_production


LOOPBACK_IPS = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"]
OTHER_HOSTS = [
    "",
    "login.example",
    "localhost.",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "0.0.0.0",
    "::",
    "192.0.2.1",
    "10.0.0.1",
    "::ffff:192.0.2.1",
    "2001:db8::1",
    "127.1",
    "0177.0.0.1",
    "127.0.0.1:80",
    " 127.0.0.1",
]


@pytest.mark.parametrize("ip", LOOPBACK_IPS)
def test_a_loopback_ip_is_loopback_with_or_without_brackets(ip: str) -> None:
    assert is_loopback_ip(ip)
    assert is_loopback(ip)
    assert is_loopback(f"[{ip}]")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST"])
def test_localhost_is_a_loopback_host_but_no_ip(name: str) -> None:
    assert is_loopback(name)
    assert not is_loopback_ip(name)


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
    assert not is_loopback_ip(host)


@pytest.mark.requirement("SECURITY-16")
def test_a_listed_redirect_url_matches_character_for_character() -> None:
    listed = ["https://login.example/authorize?fixed=1"]
    assert is_listed("https://login.example/authorize?a=b", listed)
    for other in (
        "https://LOGIN.example/authorize",
        "https://login.example/authorize/",
        "https://login.example/",
    ):
        assert not is_listed(other, listed)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://login.example:8443/a?b") == "https://login.example:8443"
