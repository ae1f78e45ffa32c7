"""What an action did: a message on the next account page, shown once."""

from __future__ import annotations

import binascii
import hmac

from ..auth import Auth
from ..engine.encoding import b64url_decode, b64url_encode
from ..paths import ACCOUNT_PATH
from ..web import WebRequest, WebResponse

COOKIE = "asok_auth_message"
PURPOSE = "message"
LIFETIME = 60
"""Seconds within which the next page must come."""
MAX_TEXT = 500


def leave_message(auth: Auth, request: WebRequest, text: str) -> None:
    """Show ``text``, already translated, on the account page that follows.

    It is bound to the session: another site or user cannot put a text of its own there. Longer texts than
    500 characters are cut.
    """
    text = text[:MAX_TEXT]
    digest = auth.keys.digests(PURPOSE, _session(request), text)[0]
    value = b64url_encode(f"{digest}{text}".encode()).decode()
    request.set_cookie(COOKIE, value, max_age=LIFETIME)


def to_account(request: WebRequest) -> WebResponse:
    """303 to the account page: after an action, or for a GET of a form's URL."""
    return WebResponse.see_other(ACCOUNT_PATH)


def take_message(auth: Auth, request: WebRequest) -> str | None:
    """The message that this session's last action left, once; None if there is none."""
    value = request.cookies.get(COOKIE)
    if value is None:
        return None
    request.set_cookie(COOKIE, "", max_age=0)
    try:
        kept = b64url_decode(value.encode()).decode()
    except (ValueError, binascii.Error):
        return None
    digest, text = kept[:64], kept[64:]
    made = auth.keys.digests(PURPOSE, _session(request), text)
    return text if any(hmac.compare_digest(digest.encode(), one.encode()) for one in made) else None


def _session(request: WebRequest) -> str:
    return "" if request.session_record is None else request.session_record.id
