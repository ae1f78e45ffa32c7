"""The messages of OAuth 2.0's authorization code grant with PKCE, without I/O."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_plus, urlencode

from ..errors import OAuthDenied, OAuthError
from ..types import JSON
from .encoding import b64url_encode
from .message import Call, Reply, read_object

TokenAuth = Literal["client_secret_post", "client_secret_basic", "none"]
"""How the app authenticates at the token endpoint (RFC 6749 section 2.3.1; ``none``: PKCE only)."""

VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
"""RFC 7636 section 4.1."""

OWN_PARAMETERS = frozenset(
    {
        "response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
        "code_challenge", "code_challenge_method", "request", "request_uri",
    }
)  # fmt: skip
"""Parameters of the authorization request that a provider's settings cannot replace."""


CANCELED = frozenset({"access_denied", "user_cancelled_login", "user_cancelled_authorize"})
"""Errors that say that the user pressed Cancel: RFC 6749 (section 4.1.2.1), LinkedIn's and Apple's own."""


@dataclass(frozen=True, slots=True)
class Client:
    """This app, as registered with the provider."""

    id: str
    secret: str = field(repr=False, default="")
    auth: TokenAuth = "client_secret_post"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A successful token response. ``raw`` is the complete response."""

    access_token: str = field(repr=False)
    id_token: str | None = field(repr=False, default=None)
    raw: Mapping[str, JSON] = field(repr=False, default_factory=dict)


def derive(secret: str, what: Literal["verifier", "nonce"]) -> str:
    """Derive a code verifier or nonce from a flow's secret: 43 characters, 256 bits.

    Derived, so that the flow's record in the StateStore contains neither.
    """
    message = f"asok-auth-core/oauth {what}".encode()
    return b64url_encode(hmac.digest(secret.encode(), message, "sha256")).decode()


def code_challenge(verifier: str) -> str:
    """S256 of ``verifier`` (RFC 7636, section 4.2).

    Raises ValueError for an invalid one.
    """
    if not VERIFIER.fullmatch(verifier):
        raise ValueError("A code verifier must have 43 to 128 characters of A-Z a-z 0-9 - . _ ~ (RFC 7636).")
    return b64url_encode(hashlib.sha256(verifier.encode()).digest()).decode()


def authorization_url(
    endpoint: str,
    *,
    client_id: str,
    redirect_uri: str,
    scope: str,
    state: str,
    verifier: str | None,
    nonce: str | None = None,
    form_post: bool = False,
    extra: Mapping[str, str] | None = None,
) -> str:
    """The URL of the authorization request (RFC 6749, 4.1.1; RFC 7636, 4.3).

    Without ``verifier`` there is no PKCE. ``extra`` cannot replace any of :data:`OWN_PARAMETERS`.
    """
    parameters = {name: value for name, value in (extra or {}).items() if name not in OWN_PARAMETERS}
    parameters |= {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": scope,
        "state": state,
    }
    if verifier is not None:
        parameters |= {"code_challenge": code_challenge(verifier), "code_challenge_method": "S256"}
    if form_post:
        parameters["response_mode"] = "form_post"
    if nonce is not None:
        parameters["nonce"] = nonce
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def read_authorization_response(
    parameters: Mapping[str, str], *, issuer: str | None, announced: bool, provider: str
) -> str:
    """The code in the provider's answer; the caller has checked its ``state``.

    ``issuer`` is the one the flow was started with; ``announced``: the provider declared that its
    answers contain ``iss`` (RFC 9207 section 2.4). ``provider`` is its label. Raises
    OAuthDenied, or OAuthError: ``oauth_response_issuer`` or ``oauth_rejected``.
    """
    sent = parameters.get("iss")
    if (sent is None and announced) or (sent is not None and issuer is not None and sent != issuer):
        raise wrong_issuer(provider)
    error = parameters.get("error")
    if error in CANCELED:
        raise OAuthDenied("You canceled the login with {provider}. Nothing has changed.", provider=provider)
    if error:
        raise OAuthError(
            "{provider} could not log you in. Please try again or log in another way.",
            provider=provider,
            code="oauth_rejected",
        )
    code = parameters.get("code")
    if not code:
        raise OAuthError(
            "{provider} sent no code. Please start again.", provider=provider, code="oauth_rejected"
        )
    return code


def wrong_issuer(provider: str) -> OAuthError:
    """The error for an answer that names another issuer (RFC 9207, section 2.4)."""
    return OAuthError(
        "This answer does not come from {provider}. Please start again.",
        provider=provider,
        code="oauth_response_issuer",
    )


def token_request(
    endpoint: str, client: Client, *, code: str, redirect_uri: str, verifier: str | None
) -> Call:
    """The call that exchanges the code for tokens (RFC 6749, 4.1.3; RFC 7636, 4.5)."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
    }
    if verifier is not None:
        form["code_verifier"] = verifier
    headers = {"Accept": "application/json"}
    if client.auth == "client_secret_basic":
        pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form["client_id"] = client.id
        if client.auth == "client_secret_post":
            form["client_secret"] = client.secret
    return Call(endpoint, headers, form)


def read_token_response(reply: Reply) -> Tokens:
    """Read the tokens in a token response (RFC 6749, section 5.1).

    A response with ``error`` is an error whatever its status, since GitHub sends errors with status 200;
    an empty ``error`` is ignored. Raises OAuthError: ``oauth_token_rejected`` if the provider rejected the
    request, ``oauth_reply`` if the response is not valid.
    """
    document = read_object(reply.body, clean=True)  # some providers put the profile into it
    if document.get("error") or reply.status in (400, 401):
        raise OAuthError(
            "The provider did not accept this login. Please start again.", code="oauth_token_rejected"
        )
    access, id_token = document.get("access_token"), document.get("id_token")
    kind = document.get("token_type")
    if (
        reply.status not in (200, 201)
        or not isinstance(access, str)
        or not access
        or not access.isascii()
        or not access.isprintable()
        or not (id_token is None or isinstance(id_token, str))
        or not (kind is None or (isinstance(kind, str) and kind.lower() == "bearer"))
    ):
        raise OAuthError("The provider's answer could not be read. Please try again.", code="oauth_reply")
    return Tokens(access, id_token, document)


def bearer(url: str, access_token: str) -> Call:
    """A GET with the access token in the Authorization header (RFC 6750 section 2.1)."""
    return Call(url, {"Accept": "application/json", "Authorization": f"Bearer {access_token}"})
