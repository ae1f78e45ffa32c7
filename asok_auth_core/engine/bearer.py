"""Bearer tokens in the Authorization header, and WWW-Authenticate (RFC 6750)."""

from __future__ import annotations

from ..errors import AuthError, TokenError

REALM = "api"


def bearer_token(header: str | None) -> str | None:
    """The token of an ``Authorization`` header; None without the Bearer scheme.

    Raises TokenError if the scheme is Bearer (upper or lower case) and not exactly one token
    follows: none, two, or two headers that a server joined with a comma.
    """
    if header is None or header[:6].lower() != "bearer":
        return None
    rest = header[6:]
    if rest[:1] not in ("", " ", "\t", ","):
        return None
    token = rest.strip(" \t")
    if not token or " " in token or "\t" in token or "," in token:
        raise TokenError(
            "The Authorization header must hold exactly one bearer token.", code="token_malformed"
        )
    return token


def bearer_challenge(error: AuthError | None = None, scope: str | None = None) -> str:
    """The value of ``WWW-Authenticate`` (RFC 6750, section 3).

    ``error`` is why the request's token was rejected; None if it had none. ``scope`` is the
    permission that the token's scopes lack.
    """
    parts = [f'realm="{REALM}"']
    if scope is not None:
        parts += ['error="insufficient_scope"', f'scope="{_quoted(scope)}"']
    elif isinstance(error, TokenError):
        parts += ['error="invalid_token"', f'error_description="{_quoted(error.message)}"']
    return "Bearer " + ", ".join(parts)


def _quoted(text: str) -> str:
    """``text`` with characters that RFC 6750 forbids between quotes replaced."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)
