"""An OAuth 2.0 and OpenID Connect server, built on Authlib."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from authlib.common.security import generate_token
from authlib.oauth2 import OAuth2Request
from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.models import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9207 import IssuerParameter
from authlib.oidc.core.grants import OpenIDCode
from joserfc.jwk import RSAKey

from .accounts import Account

CODE_LIFETIME = 60
"""Seconds."""


@dataclass
class Answer:
    """An HTTP response; ``location`` is the target of a redirect."""

    status: int
    body: object = field(repr=False)
    headers: list[tuple[str, str]] = field(repr=False)

    @property
    def location(self) -> str | None:
        return next((value for name, value in self.headers if name.lower() == "location"), None)

    @location.setter
    def location(self, value: str) -> None:
        rest = [(name, text) for name, text in self.headers if name.lower() != "location"]
        self.headers = [*rest, ("Location", value)]


@dataclass
class RegisteredClient(ClientMixin):
    """The app under development."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == self.client_secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_post", "client_secret_basic")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code(AuthorizationCodeMixin):
    """An authorization code and the request it was given for."""

    client_id: str
    redirect_uri: str
    scope: str
    account: Account
    nonce: str | None = field(repr=False)
    code_challenge: str = field(repr=False)
    code_challenge_method: str
    expires_at: float = field(default_factory=lambda: time.time() + CODE_LIFETIME)

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> None:
        return None

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class Request(OAuth2Request):
    """A request in Authlib's form."""

    def __init__(
        self,
        method: str,
        uri: str,
        query: Mapping[str, str],
        form: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(method, uri, headers=dict(headers))
        self._query, self._form = dict(query), dict(form)
        self.payload = BasicOAuth2Payload({**query, **form})

    @property
    def args(self) -> dict[str, str]:
        return self._query

    @property
    def form(self) -> dict[str, str]:
        return self._form


class Server(AuthorizationServer):
    """One provider with its client, codes and access tokens, in memory."""

    def __init__(self, client: RegisteredClient, issuer: str, *, openid: bool) -> None:
        super().__init__()
        self.client = client
        self.issuer = issuer
        self.codes: dict[str, Code] = {}
        self.accounts: dict[str, Account] = {}
        self.keys: list[RSAKey] = [_first_key()] if openid else []
        self.register_token_generator("default", BearerTokenGenerator(lambda **_: generate_token(42)))
        extensions: list[object] = [StrictCodeChallenge(required=True)]
        if openid:
            extensions.append(IDToken(self))
            self.register_extension(lambda server: Issuer(issuer)(server))
        self.register_grant(CodeGrant, extensions)

    def rotate_keys(self, *, keep: bool = True) -> None:
        """Sign with a new key; ``keep`` publishes the old keys too."""
        self.keys = [_new_key(), *(self.keys if keep else [])]

    def account_of(self, access_token: str) -> Account | None:
        """The account that an access token belongs to, or None."""
        return self.accounts.get(access_token)

    def query_client(self, client_id: str) -> RegisteredClient | None:
        return self.client if client_id == self.client.client_id else None

    def save_token(self, token: dict[str, str], request: OAuth2Request) -> None:
        self.accounts[token["access_token"]] = request.user

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        return None

    def create_oauth2_request(self, request: Request) -> Request:
        return request

    def handle_response(self, status: int, body: object, headers: list[tuple[str, str]]) -> Answer:
        return Answer(status, body, list(headers))


class CodeGrant(AuthorizationCodeGrant):
    """Codes are single-use, expire after a minute and are bound to their client."""

    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "client_secret_basic"]

    def save_authorization_code(self, code: str, request: Request) -> None:
        asked = request.payload.data
        self.server.codes[code] = Code(
            client_id=request.client.client_id,
            redirect_uri=request.payload.redirect_uri,
            scope=request.scope or "",
            account=request.user,
            nonce=asked.get("nonce"),
            code_challenge=asked["code_challenge"],
            code_challenge_method=asked["code_challenge_method"],
        )

    def query_authorization_code(self, code: str, client: RegisteredClient) -> Code | None:
        found = self.server.codes.pop(code, None)
        if found is None or found.client_id != client.client_id or found.expires_at < time.time():
            return None
        return found

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Do nothing: the lookup already removed the code."""

    def authenticate_user(self, authorization_code: Code) -> Account:
        return authorization_code.account


class StrictCodeChallenge(CodeChallenge):
    """PKCE with S256, required for every client."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]

    def validate_code_challenge(self, grant: AuthorizationCodeGrant, redirect_uri: str) -> None:
        asked = grant.request.payload.data
        if not asked.get("code_challenge") or asked.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE with S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)


class IDToken(OpenIDCode):
    """ID tokens signed with the server's newest key, with a required nonce."""

    def __init__(self, server: Server) -> None:
        super().__init__(require_nonce=True)
        self._server = server

    def exists_nonce(self, nonce: str, request: Request) -> bool:
        return any(code.nonce == nonce for code in self._server.codes.values())

    def resolve_client_private_key(self, client: RegisteredClient) -> RSAKey:
        return self._server.keys[0]

    def get_encode_header(self, client: RegisteredClient) -> dict[str, str]:
        return {"alg": "RS256", "kid": str(self._server.keys[0].kid)}

    def get_client_claims(self, client: RegisteredClient) -> dict[str, object]:
        return {"iss": self._server.issuer, "aud": client.client_id, "azp": client.client_id}

    def generate_user_info(self, user: Account, scope: str) -> dict[str, object]:
        return user.claims()


class Issuer(IssuerParameter):
    """Adds ``iss`` to authorization responses (RFC 9207)."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def get_issuer(self) -> str:
        return self._issuer


@functools.cache
def _first_key() -> RSAKey:
    """One per process, because generating a key takes more than 0.1 s."""
    return _new_key()


def _new_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": generate_token(12), "use": "sig", "alg": "RS256"})
