"""A provider login that waits until its email address is verified by mail.

Nothing about the user is stored before that: the identity lies in the state store under a digest of a
random handle, which only this browser's cookie holds.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from ..auth import Auth
from ..engine.keys import digest, new_handle
from ..errors import LoginExpired
from ..types import Proof, RedactedStruct
from ..web import WebRequest
from .attempts import StoredIdentity
from .oauth import Finished

LIFETIME = 3600
"""Seconds for which the login waits."""


class WaitingIdentity(RedactedStruct, frozen=True):
    """What the provider said, and the email address that the last code was sent to."""

    identity: StoredIdentity
    next_url: str | None
    sent_to: str | None = None

    def proof(self, email: str) -> Proof:
        """What the login proves once the user has verified ``email``."""
        identity = replace(self.identity.identity, email=email, email_verified=True)
        return Proof(identity.provider, email, identity)


def keep_identity(auth: Auth, request: WebRequest, finished: Finished) -> None:
    """Let this browser's login wait for its email address. Raises StoreUnavailable."""
    handle = new_handle(auth.random)
    _put(auth, handle, WaitingIdentity(StoredIdentity.of(finished.identity), finished.next_url))
    request.set_cookie(_cookie(request), handle, max_age=LIFETIME)


def waiting_identity(auth: Auth, request: WebRequest) -> WaitingIdentity:
    """This browser's waiting login. Raises LoginExpired, StoreUnavailable."""
    raw = auth.state.get(_key(_handle(request)))
    if raw is None:
        raise LoginExpired("This login has expired. Please start again.")
    return msgspec.json.decode(raw, type=WaitingIdentity)


def note_email(auth: Auth, request: WebRequest, waiting: WaitingIdentity, email: str) -> None:
    """Note that a code was sent to ``email``: only that address counts from now on."""
    _put(auth, _handle(request), msgspec.structs.replace(waiting, sent_to=email))


def take_identity(auth: Auth, request: WebRequest) -> WaitingIdentity:
    """Consume the waiting login. Raises LoginExpired for all but one caller."""
    raw = auth.state.take(_key(_handle(request)))
    if raw is None:
        raise LoginExpired("This login has expired. Please start again.")
    return msgspec.json.decode(raw, type=WaitingIdentity)


def _put(auth: Auth, handle: str, waiting: WaitingIdentity) -> None:
    auth.state.put(_key(handle), msgspec.json.encode(waiting), LIFETIME)


def _key(handle: str) -> str:
    return f"waiting-identity:{digest(handle)}"


def _handle(request: WebRequest) -> str:
    return request.cookies.get(_cookie(request), "")


def _cookie(request: WebRequest) -> str:
    return "__Host-asok_auth_identity" if request.secure else "asok_auth_identity"
