"""An in-memory provider that answers every call, and forges on request."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jws
from joserfc.jwk import RSAKey

from ..engine.encoding import b64url_encode
from ..engine.message import Call, Reply
from ..engine.oidc import discovery_url
from ..providers import OAuth2Provider, OpenIDProvider
from ..types import JSON, Clock

SUBJECT = "248289761001"


@functools.lru_cache(maxsize=8)
def rsa_key(kid: str, bits: int = 2048) -> RSAKey:
    """A signing key, cached per ``kid`` and size because generating one is slow."""
    # Generated without joserfc, which warns about the short keys that a test wants.
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return RSAKey(private, private, {"kid": kid})


class FakeProvider:
    """Stands in for ``provider``: the network, and :meth:`authorize` the browser.

    PKCE is enforced. Change ``claims`` (None removes a claim), ``header``, ``replies`` (by URL),
    ``answer`` or ``keys`` to forge one part. ``calls`` holds the calls it received.
    """

    def __init__(
        self,
        provider: OAuth2Provider,
        *,
        profile: Mapping[str, JSON] | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.provider = provider
        self.clock = clock
        self.key = rsa_key("first")
        self.keys: list[RSAKey] = [self.key]
        self.profile: dict[str, JSON] = dict(profile or {})
        self.claims: dict[str, JSON] = {}
        self.beside: dict[str, JSON] = {}
        """Further fields of the token response."""
        self.header: dict[str, JSON] = {}
        self.metadata: dict[str, JSON] = {}
        self.answer: dict[str, str | None] = {}
        self.replies: dict[str, Reply] = {}
        self.sign: Callable[[dict[str, JSON], dict[str, JSON]], str | None] = self._sign
        self.calls: list[Call] = []
        self.sent: dict[str, str] = {}
        """What :meth:`authorize` answered last; with ``form_post``, the fields that the browser posts."""
        self._codes: dict[str, dict[str, str]] = {}

    # -- the user's browser ------------------------------------------------------------------------

    def authorize(self, url: str) -> str:
        """The URL the browser is redirected to after consent at ``url``.

        Raises AssertionError if the authorization request is invalid.
        """
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert ("code_challenge" in asked) is self.provider.pkce
        assert asked.get("code_challenge_method") == ("S256" if self.provider.pkce else None)
        assert asked.get("response_mode", "query") == self.provider.response_mode
        assert len(asked["state"]) >= 43
        code = f"code-{len(self._codes) + 1}"
        self._codes[code] = asked
        answer: dict[str, str | None] = {"code": code, "state": asked["state"], **self.answer}
        self.sent = {name: value for name, value in answer.items() if value is not None}
        return f"{asked['redirect_uri']}?{urlencode(self.sent)}"

    # -- the network -------------------------------------------------------------------------------

    def __call__(self, call: Call) -> Reply:
        """Answer ``call``, as :data:`~asok_auth_core.engine.message.Send`."""
        self.calls.append(call)
        if call.url in self.replies:
            return self.replies[call.url]
        if call.url == (getattr(self.provider, "discovery_url", "") or discovery_url(self.provider.issuer)):
            return _json({**self._discovery(), **self.metadata})
        if call.url == self.jwks_uri:
            return _json({"keys": [_public(key) for key in self.keys]})
        if call.url == self.token_endpoint:
            return self._token(call)
        if call.url == self._url("userinfo_endpoint"):
            sub: dict[str, JSON] = {"sub": SUBJECT} if isinstance(self.provider, OpenIDProvider) else {}
            return _json({**sub, **self.profile})
        return Reply(404, b"{}")

    def count(self, url: str) -> int:
        """The number of calls to ``url``."""
        return sum(call.url == url for call in self.calls)

    @property
    def token_endpoint(self) -> str:
        """The URL where codes are exchanged."""
        return self._url("token_endpoint")

    @property
    def jwks_uri(self) -> str:
        """The URL of the key set."""
        return self._url("jwks_uri")

    def _url(self, name: str) -> str:
        return str(getattr(self.provider, name, "") or f"{self.provider.issuer}/{name}")

    def _discovery(self) -> dict[str, JSON]:
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
        return {"issuer": self.provider.issuer, **{name: self._url(name) for name in names}}

    def _token(self, call: Call) -> Reply:
        form = call.form or {}
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri"):
            return _json({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if self.provider.pkce and b64url_encode(digest).decode() != asked["code_challenge"]:
            return _json({"error": "invalid_grant"}, 400)
        tokens: dict[str, JSON] = {"access_token": "access", "token_type": "bearer", **self.beside}
        if isinstance(self.provider, OpenIDProvider):
            now = int(self.clock())
            claims: dict[str, JSON] = {
                "iss": self.provider.issuer,
                "aud": asked["client_id"],
                "sub": SUBJECT,
                "exp": now + 300,
                "iat": now,
                "nonce": asked.get("nonce"),
                **self.profile,
                **self.claims,
            }
            claims = {name: value for name, value in claims.items() if value is not None}
            header: dict[str, JSON] = {"alg": "RS256", "kid": self.key.kid, **self.header}
            token = self.sign(header, claims)
            if token is not None:
                tokens["id_token"] = token
        return _json(tokens)

    def _sign(self, header: dict[str, JSON], claims: dict[str, JSON]) -> str:
        # Not signed through the library, which rejects some of the headers a test forges.
        message = f"{_segment(header)}.{_segment(claims)}"
        signature = jws.JWSRegistry.algorithms["RS256"].sign(message.encode(), self.key)
        return f"{message}.{b64url_encode(signature).decode()}"


def _segment(value: Mapping[str, JSON]) -> str:
    return b64url_encode(json.dumps(value).encode()).decode()


def _public(key: RSAKey) -> JSON:
    return {**cast("dict[str, JSON]", key.as_dict(private=False)), "use": "sig", "alg": "RS256"}


def _json(document: JSON, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode())
