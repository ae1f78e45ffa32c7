"""Do links and cookies travel encrypted, and do they name the right host?"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ..auth import Auth
from ..engine.urls import is_loopback
from ..types import Finding


def transport(auth: Auth) -> Iterator[Finding]:
    """``APP_URL`` and https; DEBUG in front of the world."""
    url = auth.settings.app.url
    debug = auth.settings.app.debug
    if not url:
        if not debug:
            yield Finding(
                "transport",
                "error",
                "APP_URL is not set, so links in mails and redirect addresses cannot be made safely.",
                "Set APP_URL to the address people use, such as https://app.example.",
            )
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        yield Finding(
            "transport",
            "error",
            f"APP_URL is {url!r}, which is no web address without a path.",
            "Set APP_URL to scheme and host only, such as https://app.example.",
        )
    elif is_loopback(parts.hostname):
        if not debug:
            yield Finding(
                "transport",
                "warning",
                f"APP_URL is {url}, which only this machine reaches.",
                "Set APP_URL to the address people use, such as https://app.example.",
            )
    else:
        if parts.scheme == "http":
            yield Finding(
                "transport",
                "error",
                f"APP_URL is {url}: links, codes and cookies cross the network in clear.",
                "Serve the app over https and change APP_URL to https://.",
            )
        if debug:
            yield Finding(
                "transport",
                "error",
                f"DEBUG is on and APP_URL is {url}: short secrets and plain http are accepted.",
                "Set DEBUG to false where people can reach the app.",
            )
