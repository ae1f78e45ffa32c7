"""Browsers that skip the second factor for a time: ``AUTH["TRUSTED_DEVICE"]``.

Off by default. The cookie is a signed token with its own purpose. The CredentialStore keeps the
digest of its handle, so it can be revoked at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..auth import Auth
from ..engine.keys import digest, new_handle
from ..engine.tokens import TokenClaims, TokenCodec
from ..errors import TokenError
from ..types import Credential, User
from ..web import WebRequest

KIND = "trusted_device"
COOKIE = "asok_auth_device"
FIELD = "trust"
"""The form field (a checkbox) with which the user trusts this browser."""
SHOWN_AGENT = 200


class DeviceClaims(TokenClaims, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``sub``: the user's id; ``jti``: the handle."""

    sub: str
    jti: str


def trust_device(auth: Auth, request: WebRequest, user: User) -> None:
    """Trust this browser of ``user`` for ``TRUSTED_DEVICE`` seconds, unless 0."""
    lifetime = auth.settings.trusted_device
    if not lifetime:
        return
    now = int(auth.clock())
    for device in auth.credentials.list(str(user.id), KIND):
        if device.created_at + lifetime <= now:
            auth.credentials.remove(device)
    handle = new_handle(auth.random)
    agent = request.headers.get("User-Agent", "")[:SHOWN_AGENT]
    auth.credentials.add(str(user.id), KIND, digest(handle), {"agent": agent})
    token = _codec(auth).sign(DeviceClaims(iat=now, exp=now + lifetime, sub=str(user.id), jti=handle))
    request.set_cookie(COOKIE, token, max_age=lifetime)
    auth.events.emit("device.trusted", user=user, client_ip=request.client_ip)


def is_trusted(auth: Auth, request: WebRequest, user: User) -> bool:
    """True if ``user`` trusts this browser, without expiry or revocation."""
    lifetime = auth.settings.trusted_device
    cookie = request.cookies.get(COOKIE)
    if not lifetime or not cookie:
        return False
    try:
        claims = _codec(auth).verify(cookie)
    except TokenError:
        return False
    if claims.sub != str(user.id) or claims.iat + lifetime <= auth.clock():
        return False
    device = auth.credentials.find(KIND, digest(claims.jti))
    if device is None or device.user_id != str(user.id):
        return False
    auth.credentials.touch(device, auth.clock())
    return True


def trusted_devices(auth: Auth, user: User) -> Sequence[Credential]:
    """The user's trusted browsers, oldest first."""
    since = auth.clock() - auth.settings.trusted_device
    return [device for device in auth.credentials.list(str(user.id), KIND) if device.created_at > since]


def forget_devices(auth: Auth, user: User, *, client_ip: str | None = None) -> int:
    """Revoke the trust in every browser of ``user``; return their number."""
    removed = sum(auth.credentials.remove(device) for device in auth.credentials.list(str(user.id), KIND))
    if removed:
        auth.events.emit("device.forgotten", user=user, client_ip=client_ip, devices=removed)
    return removed


def _codec(auth: Auth) -> TokenCodec[DeviceClaims]:
    return TokenCodec(purpose="trusted-device", claims=DeviceClaims, keys=auth.keys, clock=auth.clock)
