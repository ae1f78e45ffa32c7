"""Checks of URLs: where a browser may be sent, and what the server may call."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import SplitResult, quote, unquote, urlsplit

MAX_URL = 2048

_KEPT = "!#$%&'()*+,/:;=?@[]~"
"""What percent-encoding leaves as it is: characters of URLs, and ``%`` of what is encoded already."""
_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without space, controls and backslash


def safe_next(text: str | None) -> str | None:
    """Return ``text``, percent-encoded, if it is a path of this app; otherwise None.

    Prevents open redirects (RFC 9700, section 4.11): the path must start with exactly one slash and contain
    no backslash or control character, both as sent and after each round of percent-decoding, so no browser
    reads it as another host. Text that a form or query has already decoded, such as ``/caf\u00e9``, is
    encoded again, to ``/caf%C3%A9``.
    """
    if not text or len(text) > MAX_URL or "\\" in text or _has_control(text):
        return None
    try:
        text = quote(text, safe=_KEPT)
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    if len(text) > MAX_URL:
        return None
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    for _ in range(4):
        if not path.startswith("/") or "//" in path or "\\" in path or _has_control(path):
            return None
        decoded = unquote(path, errors="replace")
        if decoded == path:
            return text
        path = decoded
    return None


def is_secure(url: str, *, debug: bool) -> bool:
    """True for a plain https URL with a host; http only to loopback in DEBUG.

    A user name, fragment, white space, control character, backslash or invalid port is not accepted.
    """
    if not url or len(url) > MAX_URL or not _PRINTABLE.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or "#" in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and debug and is_loopback(host))


def is_host(parts: SplitResult) -> bool:
    """True if the URL's host and port are ones that a browser can reach.

    The caller has checked the characters. A last label of digits makes the host an IPv4 address (WHATWG URL,
    section 3.5).
    """
    try:
        host, port = parts.hostname or "", parts.port
        is_ip = "[" in parts.netloc or host.rpartition(".")[2].isdecimal()
        return port != 0 and not (is_ip and ipaddress.ip_address(host).is_unspecified)
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and loopback IPs, with or without brackets."""
    return host.lower() == "localhost" or is_loopback_ip(host.removeprefix("[").removesuffix("]"))


def is_loopback_host(header: str | None) -> bool:
    """True if a request's ``Host`` header names this machine, with or without a port."""
    try:
        parts = urlsplit(f"//{header or ''}")
        return parts.netloc == header and "@" not in header and is_loopback(parts.hostname or "")
    except ValueError:
        return False


def is_loopback_ip(text: str) -> bool:
    """True for 127.0.0.0/8, also mapped into IPv6, and ``::1``."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def is_listed(url: str, endpoints: Collection[str]) -> bool:
    """True if ``url`` without its query is exactly one of ``endpoints``."""
    if len(url) > 2 * MAX_URL or not _PRINTABLE.fullmatch(url) or "#" in url:
        return False
    return url.partition("?")[0] in {endpoint.partition("?")[0] for endpoint in endpoints}


def origin(url: str) -> str:
    """``https://host:port`` of a URL that :func:`is_secure` accepts."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _has_control(text: str) -> bool:
    return any(ord(char) < 0x20 or ord(char) == 0x7F for char in text)
