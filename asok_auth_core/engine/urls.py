"""Which addresses a browser may be sent to, and which ones we call ourselves."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

MAX_URL = 2048

_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without space, controls and backslash


def safe_next(text: str | None) -> str | None:
    """``text`` if it is a path of this app that no browser reads as another host, else None.

    It must start with one slash and be printable ASCII without backslash, as sent and after every
    round of percent-decoding (RFC 9700, section 4.11).
    """
    if not text or len(text) > MAX_URL or not _PRINTABLE.fullmatch(text):
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
    """True for an https address with a host and nothing odd; plain http only to loopback in DEBUG.

    Odd is: user name, fragment, white space, control characters, backslash, a bad port.
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


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and the loopback addresses of IPv4 and IPv6."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_listed(url: str, endpoints: Collection[str]) -> bool:
    """True if ``url`` without its query is, character for character, one of ``endpoints``."""
    if len(url) > 2 * MAX_URL or not _PRINTABLE.fullmatch(url) or "#" in url:
        return False
    return url.partition("?")[0] in {endpoint.partition("?")[0] for endpoint in endpoints}


def origin(url: str) -> str:
    """``https://host:port`` of an address that :func:`is_secure`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _has_control(text: str) -> bool:
    return any(ord(char) < 0x20 or ord(char) == 0x7F for char in text)
