"""Receipts: a browser whose answer was dropped gets the same login again.

A link or a code counts once. If the browser that used it presses the button again within 30 seconds (a
double click, a connection that broke off), it gets the same session, or the same login that waits for its
second factor, not an error. The browser is recognized by a cookie of the page with the button; other
browsers are told that the link was used.

The handle that the browser gets is derived from that cookie and a random seed, so it can be sent again
without being stored. The receipt lies in the state store under a digest of cookie and link.
"""

from __future__ import annotations

import hmac
import logging
import time
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from ..auth import Auth
from ..engine.encoding import b64url_encode
from ..engine.keys import digest, new_handle
from ..errors import StoreUnavailable
from ..types import RedactedStruct
from ..web import WebRequest

logger = logging.getLogger("asok_auth")

COOKIE = "asok_auth_browser"
COOKIE_LIFETIME = 86_400
"""A page with the button may stay open for as long."""
LIFETIME = 30
PAUSE = 0.05
PAUSES = 40
"""How often a second press looks for the receipt of the first, which is still running: for two seconds."""


class KeptReceipt(RedactedStruct, frozen=True):
    """What the first press led to: a session, or a pending login."""

    shown = ("session_id", "location")

    seed: str
    session_id: str | None
    location: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """One use of a secret by one browser."""

    key: str = field(repr=False)
    browser: str = field(repr=False)
    seed: str = field(repr=False)

    def handle(self, purpose: str) -> str:
        """The secret handle of this login for ``purpose``; only this browser can know it."""
        made = hmac.new(self.browser.encode(), f"{purpose}:{self.seed}".encode(), sha256).digest()
        return b64url_encode(made).decode()


def mark_browser(auth: Auth, request: WebRequest) -> None:
    """Recognize this browser when it presses the button of the page being shown."""
    if _cookie_of(request) is None:
        browser = new_handle(auth.random)
        request.set_cookie(_cookie_name(request), browser, max_age=COOKIE_LIFETIME)


def receipt_for(auth: Auth, request: WebRequest, secret: str) -> Receipt | None:
    """The receipt to keep for ``secret``; None if this browser saw no page."""
    browser = _cookie_of(request)
    if browser is None:
        return None
    key = f"receipt:{digest(f'{browser}:{secret}')}"
    return Receipt(key, browser, new_handle(auth.random))


def start_receipt(auth: Auth, receipt: Receipt) -> bool:
    """True for the first press; the others get its receipt with :func:`find_receipt`."""
    return auth.state.add(receipt.key, b"", LIFETIME)


def keep_receipt(auth: Auth, receipt: Receipt, *, session_id: str | None, location: str) -> None:
    """Keep what the first press led to. The login is valid even if that fails."""
    kept = KeptReceipt(receipt.seed, session_id, location)
    try:
        auth.state.put(receipt.key, msgspec.json.encode(kept), LIFETIME)
    except StoreUnavailable:
        logger.warning("The receipt of a login could not be kept.", exc_info=True)


def void_receipt(auth: Auth, receipt: Receipt) -> None:
    """Forget the first press, which led to no login; by itself it expires soon."""
    try:
        auth.state.delete(receipt.key)
    except StoreUnavailable:
        logger.warning("The receipt of a failed login could not be removed.", exc_info=True)


def find_receipt(auth: Auth, receipt: Receipt) -> tuple[Receipt, KeptReceipt] | None:
    """The receipt of the first press, once that has ended; None if it failed."""
    for _ in range(PAUSES):
        raw = auth.state.get(receipt.key)
        if raw is None:
            return None
        if raw:
            kept = msgspec.json.decode(raw, type=KeptReceipt)
            return Receipt(receipt.key, receipt.browser, kept.seed), kept
        time.sleep(PAUSE)
    return None


def _cookie_name(request: WebRequest) -> str:
    return f"__Host-{COOKIE}" if request.secure else COOKIE


def _cookie_of(request: WebRequest) -> str | None:
    return request.cookies.get(_cookie_name(request)) or None
