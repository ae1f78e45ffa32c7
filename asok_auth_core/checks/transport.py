"""Check that links and cookies are encrypted in transit and name the right host."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ..auth import Auth
from ..engine.urls import is_loopback
from ..types import Finding


def transport(auth: Auth) -> Iterator[Finding]:
    """Report a wrong ``APP_URL``, missing https, and DEBUG on a public host."""
    url = auth.settings.app.url
    debug = auth.settings.app.debug
    if not url:
        if not debug:
            yield Finding(
                "transport",
                "error",
                "APP_URL is not set, so links in emails and redirect URIs cannot be built safely.",
                "Set APP_URL to the app's public URL, such as https://app.example.",
            )
        return
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        if not debug:
            yield Finding(
                "transport",
                "warning",
                f"APP_URL is {url}, which only this machine can reach.",
                "Set APP_URL to the app's public URL, such as https://app.example.",
            )
    else:
        if parts.scheme == "http":
            yield Finding(
                "transport",
                "error",
                f"APP_URL is {url}: links, codes and cookies cross the network in plaintext.",
                "Serve the app over https and change APP_URL to https://.",
            )
        if debug:
            yield Finding(
                "transport",
                "error",
                f"DEBUG is on and APP_URL is {url}: short secrets and plain http are accepted.",
                "Set DEBUG to false wherever the app is public.",
            )
