"""Read OpenID Connect discovery documents and check ID tokens, without I/O."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact

from ..errors import IDTokenInvalid, OAuthError
from ..types import JSON
from .encoding import b64url_decode
from .jwk import ALGORITHMS, SigningKey, choose
from .message import MAX_SUBJECT, Claims, Reply, read_object
from .storable import is_exact
from .urls import is_secure

MAX_ID_TOKEN = 32 * 1024
"""Characters of an ID token; checked before it is parsed."""

MAX_HEADER = 4096
LEEWAY = 60
"""Seconds by which the provider's clock may differ from ours."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class Metadata:
    """A provider's discovery document (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    iss_announced: bool = False
    """RFC 9207 section 3: answers to authorization requests contain ``iss``."""
    token_auth: tuple[str, ...] = ("client_secret_basic",)


def discovery_url(issuer: str) -> str:
    """The URL of the discovery document of ``issuer`` (Discovery 1.0, section 4.1)."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def read_discovery(reply: Reply, *, issuer: str, debug: bool) -> Metadata:
    """Read the provider's metadata, which must name exactly ``issuer`` (section 4.3).

    Raises OAuthError: ``oauth_discovery``, ``oauth_url_insecure`` or ``oauth_reply``.
    """
    if reply.status != 200:
        raise OAuthError("The provider did not answer as expected. Please try again.", code="oauth_reply")
    document = read_object(reply.body)
    if document.get("issuer") != issuer:
        raise OAuthError(
            "The provider's discovery document names another issuer. The provider's setting 'issuer' must "
            "be the same, character for character.",
            code="oauth_discovery",
        )
    endpoints: dict[str, str] = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        value = document.get(name)
        if value is None and name == "userinfo_endpoint":
            continue
        if not isinstance(value, str):
            raise OAuthError(f"The provider's discovery document has no {name}.", code="oauth_discovery")
        if not is_secure(value, debug=debug):
            raise OAuthError(f"The provider's {name} is not an https URL.", code="oauth_url_insecure")
        endpoints[name] = value
    methods = document.get("token_endpoint_auth_methods_supported")
    listed = tuple(item for item in methods if isinstance(item, str)) if isinstance(methods, list) else ()
    return Metadata(
        issuer,
        endpoints["authorization_endpoint"],
        endpoints["token_endpoint"],
        endpoints["jwks_uri"],
        endpoints.get("userinfo_endpoint"),
        document.get("authorization_response_iss_parameter_supported") is True,
        listed or ("client_secret_basic",),
    )


def key_id(id_token: str | None, algorithm: str) -> str | None:
    """The ``kid`` of an ID token with an acceptable header, not verified yet.

    Raises IDTokenInvalid: ``oauth_id_token``, ``oauth_algorithm`` or ``oauth_critical``.
    """
    return _kid(_header(id_token, algorithm))


def check_id_token(
    id_token: str | None,
    keys: Sequence[SigningKey],
    *,
    accepts: Callable[[str, Claims], bool],
    client_id: str,
    nonce: str | None,
    algorithm: str,
    now: float,
) -> Claims:
    """The claims of an ID token that passes every check (OIDC Core 1.0, 3.1.3.7).

    ``accepts`` says, with exactly True, whether the token's issuer is the provider's. ``nonce`` is None if
    none was sent: then the token must carry none.
    ``algorithm`` is the one registered for the client; the token's header cannot select another.
    Raises IDTokenInvalid, with a code for each check, or OAuthError ``oauth_subject``.
    """
    header = _header(id_token, algorithm)
    key = choose(keys, kid=_kid(header), alg=algorithm)
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = MAX_HEADER
    try:
        verified = deserialize_compact(str(id_token), key, registry=registry)
    except (JoseError, ValueError):
        raise IDTokenInvalid(
            "The provider's signature on this login does not match.", code="oauth_signature"
        ) from None
    try:
        claims = Claims(read_object(verified.payload or b"", clean=True))
    except OAuthError:
        raise _malformed() from None
    _check_parties(claims, accepts, client_id)
    _check_times(claims, now)
    sent = claims.get("nonce")
    if nonce is None:
        matches = sent is None
    else:
        matches = isinstance(sent, str) and hmac.compare_digest(sent.encode(), nonce.encode())
    if not matches:
        raise IDTokenInvalid("This answer belongs to another login. Please start again.", code="oauth_nonce")
    subject = claims.get("sub")
    well_formed = isinstance(subject, str) and subject.strip() and len(subject) <= MAX_SUBJECT
    if not well_formed or not is_exact(str(subject)):
        raise OAuthError(
            "The provider did not identify you. Please log in another way.", code="oauth_subject"
        )
    return claims


def merge_userinfo(claims: Claims, userinfo: JSON) -> Claims:
    """Add claims that only the UserInfo response has to those of the ID token.

    The ID token's claims win (OpenID Connect Core, section 5.3.2). ``email`` and ``email_verified`` always
    come from the same source: from UserInfo if the ID token has no email address, or has the same one
    without saying whether it is verified. Raises OAuthError ``oauth_subject`` if the subjects differ.
    """
    if not isinstance(userinfo, dict) or userinfo.get("sub") != claims["sub"]:
        raise OAuthError(
            "The provider identified two different users. Please start again.", code="oauth_subject"
        )
    email = claims.text("email")
    says_it_too = "email_verified" not in claims and userinfo.get("email") == email
    pair = userinfo if email is None or says_it_too else claims
    merged = {**userinfo, **claims}
    for name in ("email", "email_verified"):
        merged[name] = pair.get(name)
    return Claims(merged)


def _header(id_token: str | None, algorithm: str) -> dict[str, JSON]:
    if not id_token or len(id_token) > MAX_ID_TOKEN:
        raise _malformed()
    # Read before the token's form is checked, so that an unsigned token is reported as "alg": "none".
    segment = id_token.partition(".")[0]
    if not segment or len(segment) > MAX_HEADER:
        raise _malformed()
    try:
        raw = b64url_decode(segment.encode())
        header = read_object(raw)
    except (ValueError, OAuthError):
        raise _malformed() from None
    if header.get("alg") != algorithm or algorithm not in ALGORITHMS:
        raise IDTokenInvalid(
            "The provider signed this login with an algorithm that is not accepted.", code="oauth_algorithm"
        )
    if "crit" in header or "b64" in header:
        raise IDTokenInvalid(
            "The provider's answer requires something that is not supported.", code="oauth_critical"
        )
    if not _COMPACT.fullmatch(id_token):
        raise _malformed()
    return header


def _kid(header: dict[str, JSON]) -> str | None:
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise _malformed()
    return kid


def _check_parties(claims: Claims, accepts: Callable[[str, Claims], bool], client_id: str) -> None:
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or accepts(issuer, claims) is not True:
        raise IDTokenInvalid(
            "This answer comes from another issuer. Please start again.", code="oauth_issuer"
        )
    audience, azp = claims.get("aud"), claims.get("azp")
    audiences = audience if isinstance(audience, list) else [audience]
    if client_id not in audiences or not all(isinstance(item, str) for item in audiences):
        raise IDTokenInvalid(
            "This answer was issued to another app. Please start again.", code="oauth_audience"
        )
    if azp != client_id and ("azp" in claims or len(audiences) > 1):
        raise IDTokenInvalid(
            "This answer was issued to another app. Please start again.", code="oauth_authorized_party"
        )


def _check_times(claims: Claims, now: float) -> None:
    expires, issued, not_before = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
    if not _is_number(expires) or expires <= now - LEEWAY:
        raise IDTokenInvalid("The provider's answer has expired. Please start again.", code="oauth_expired")
    if not _is_number(issued) or not _is_number(not_before) or max(issued, not_before) > now + LEEWAY:
        raise IDTokenInvalid(
            "The provider's clock and this server's clock differ. Please try again later.",
            code="oauth_issued_at",
        )


def _is_number(value: JSON) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _malformed() -> IDTokenInvalid:
    return IDTokenInvalid(
        "The provider's answer could not be read. Please start again.", code="oauth_id_token"
    )
