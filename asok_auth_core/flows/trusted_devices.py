"""Browsers in which a second factor was given and need not be again: ``AUTH["TRUSTED_DEVICE"]``.

Off by default. The cookie is a signed token of its own purpose whose handle the CredentialStore
knows by digest, so that it can be taken back at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..auth import Auth
from ..engine.encoding import b64url_encode
from ..engine.keys import handle_digest
from ..engine.tokens import TokenClaims, TokenCodec
from ..errors import TokenError
from ..types import Credential, User
from ..web import WebRequest

KIND = "trusted_device"
COOKIE = "asok_auth_device"
FIELD = "trust"
"""The form field of the challenge that asks for it."""
SHOWN_AGENT = 200


class DeviceClaims(TokenClaims, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``sub``: the user's id; ``jti``: the handle."""

    sub: str
    jti: str


def trust_device(auth: Auth, request: WebRequest, user: User) -> None:
    """Ask ``user`` for no second factor in this browser for ``TRUSTED_DEVICE`` seconds, unless it is 0."""
    lifetime = auth.settings.trusted_device
    if not lifetime:
        return
    now = int(auth.clock())
    for device in auth.credentials.list(str(user.id), KIND):
        if device.created_at + lifetime <= now:
            auth.credentials.remove(device)
    handle = b64url_encode(auth.random(32)).decode()
    agent = request.headers.get("User-Agent", "")[:SHOWN_AGENT]
    auth.credentials.add(str(user.id), KIND, handle_digest(handle), {"agent": agent})
    token = _codec(auth).sign(DeviceClaims(iat=now, exp=now + lifetime, sub=str(user.id), jti=handle))
    request.set_cookie(COOKIE, token, max_age=lifetime)
    auth.emit("device.trusted", user=user, client_ip=request.client_ip)


def is_trusted(auth: Auth, request: WebRequest, user: User) -> bool:
    """True if ``user`` gave a second factor in this browser and neither time nor anybody ended it."""
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
    device = auth.credentials.find(KIND, handle_digest(claims.jti))
    if device is None or device.user_id != str(user.id):
        return False
    auth.credentials.touch(device, auth.clock())
    return True


def trusted_devices(auth: Auth, user: User) -> Sequence[Credential]:
    """The browsers ``user`` is trusted in, oldest first."""
    since = auth.clock() - auth.settings.trusted_device
    return [device for device in auth.credentials.list(str(user.id), KIND) if device.created_at > since]


def forget_devices(auth: Auth, user: User, *, client_ip: str | None = None) -> None:
    """From now on ``user`` is asked in every browser again."""
    removed = [auth.credentials.remove(device) for device in auth.credentials.list(str(user.id), KIND)]
    if any(removed):
        auth.emit("device.forgotten", user=user, client_ip=client_ip, devices=len(removed))


def _codec(auth: Auth) -> TokenCodec[DeviceClaims]:
    return TokenCodec(purpose="trusted-device", claims=DeviceClaims, keys=auth.keys, clock=auth.clock)
