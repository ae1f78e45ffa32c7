"""The state of provider logins in progress: bound to the browser, single-use.

:func:`keep` sets a cookie with a random secret. The record is in the StateStore under
a digest of state *and* secret, so both are needed to find it: another browser that opens the
callback URL can neither finish the login nor use it up. Code verifier and nonce are derived from the
same secret; the record is useless to anyone who reads the store.
"""

from __future__ import annotations

import hmac

import msgspec

from ..auth import Auth
from ..engine.keys import digest, new_handle
from ..errors import OAuthError
from ..types import RedactedStruct
from ..web import WebRequest

LIFETIME = 600
"""Seconds a user may take at the provider."""

MAX_FLOWS = 8
"""Logins one browser may have in progress; the oldest is dropped."""

MAX_STATE = 512
COOKIE = "asok_oauth_"

MAX_POSTED = 16 * 1024
"""Bytes of a posted answer."""
POSTED_LIFETIME = 60
POSTS_PER_CLIENT = 300
POST_WINDOW = 900


class FlowRecord(RedactedStruct, frozen=True):
    """What is stored about one login in progress."""

    shown = ("provider", "issuer", "client_id", "redirect_uri", "link_user_id")

    provider: str
    issuer: str
    client_id: str
    redirect_uri: str
    next_url: str | None = None
    link_user_id: str | None = None
    """The account the identity is to be linked to; None for a login."""


def keep(auth: Auth, request: WebRequest, record: FlowRecord, state: str | None) -> tuple[str, str]:
    """Start a flow; return its state (or the caller's ``state``) and its secret."""
    state, secret = state or new_handle(auth.random), new_handle(auth.random)
    _make_room(request)
    auth.state.put(_key(state, secret), msgspec.json.encode(record), LIFETIME)
    request.set_cookie(_cookie(request, state), f"{int(auth.clock())}.{secret}", max_age=LIFETIME)
    return state, secret


def take(
    auth: Auth, request: WebRequest, state: str | None, expected: str | None = None
) -> tuple[FlowRecord, str]:
    """Consume the flow of ``state`` and this browser's cookie; return it.

    ``expected``: the caller's own copy of the state, which must then be equal. Raises
    OAuthError ``oauth_state`` or StoreUnavailable.
    """
    if not state or len(state) > MAX_STATE:
        raise invalid_state()
    if expected is not None and not hmac.compare_digest(state.encode(), expected.encode()):
        raise invalid_state()
    name = _cookie(request, state)
    secret = request.cookies.get(name, "").partition(".")[2]
    raw = auth.state.take(_key(state, secret)) if secret else None
    if raw is None:
        raise invalid_state()
    request.set_cookie(name, "", max_age=0)
    return msgspec.json.decode(raw, type=FlowRecord), secret


def keep_posted(auth: Auth, request: WebRequest) -> str:
    """Keep the fields that a provider's page posted; return a handle for them.

    Raises OAuthError ``oauth_reply`` if they are too long, RateLimited, StoreUnavailable.
    """
    auth.limits.hit_client("oauth-post", request.client_ip, limit=POSTS_PER_CLIENT, window=POST_WINDOW)
    fields = msgspec.json.encode(dict(request.form))
    if len(fields) > MAX_POSTED:
        raise OAuthError("The provider's answer could not be read. Please try again.", code="oauth_reply")
    handle = new_handle(auth.random)
    auth.state.put(_posted_key(handle), fields, POSTED_LIFETIME)
    return handle


def take_posted(auth: Auth, handle: str | None) -> dict[str, str]:
    """The fields of a posted answer, once; empty if there are none."""
    raw = auth.state.take(_posted_key(handle)) if handle and len(handle) <= MAX_STATE else None
    return {} if raw is None else msgspec.json.decode(raw, type=dict[str, str])


def invalid_state() -> OAuthError:
    """One error for every invalid state: the difference would only help an attacker."""
    return OAuthError(
        "This login has expired, was already completed, or was started in another browser. "
        "Please start again.",
        code="oauth_state",
    )


def _make_room(request: WebRequest) -> None:
    """Drop this browser's oldest logins in progress, so that cookies do not pile up."""
    mine = {name: value for name, value in request.cookies.items() if COOKIE in name}
    by_age = sorted(mine, key=lambda name: mine[name].partition(".")[0].rjust(20, "0"))
    for name in by_age[: max(0, len(by_age) - MAX_FLOWS + 1)]:
        request.set_cookie(name, "", max_age=0)


def _key(state: str, secret: str) -> str:
    return f"oauth:{digest(f'{state}.{secret}')}"


def _posted_key(handle: str) -> str:
    return f"oauth-post:{digest(handle)}"


def _cookie(request: WebRequest, state: str) -> str:
    """The cookie name of one flow.

    ``__Host-`` keeps other hosts of the domain from setting it.
    """
    return f"{'__Host-' if request.secure else ''}{COOKIE}{digest(state)[:16]}"
