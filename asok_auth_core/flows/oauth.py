"""Logging in at a provider: :meth:`OAuthFlow.begin` sends the browser there, ``finish`` takes it back."""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace

import msgspec

from ..engine import oauth2, oidc
from ..engine.keys import handle_digest
from ..engine.message import Claims, Send, read_reply
from ..engine.urls import is_secure
from ..errors import OAuthError
from ..http import WebRequest
from ..oauth_errors import (
    OAuthAddressInsecure,
    OAuthNotConfigured,
    OAuthReplyInvalid,
    OAuthStateInvalid,
    OAuthSubjectInvalid,
)
from ..providers import OAuth2Provider, OpenIDProvider
from ..types import JSON, Identity, User
from .auth import Auth, logger
from .provider_documents import ProviderDocuments

LIFETIME = 600
"""Seconds a person may take at the provider."""

MAX_FLOWS = 8
"""Logins one browser may have under way; the oldest gives way."""

MAX_STATE = 512
COOKIE = "asok_oauth_"
CLIENT_BEGINNINGS = 300
BEGINNINGS_WINDOW = 900


class FlowRecord(msgspec.Struct, frozen=True):
    """What the StateStore keeps of a login under way. Nonce and code verifier are derived from the
    secret in the browser's cookie, so nothing here is of use to who reads the store."""

    provider: str
    issuer: str
    client_id: str
    redirect_uri: str
    next_url: str | None = None
    link_user_id: str | None = None
    """The account the identity is to be linked to; None for a login."""


class Finished(msgspec.Struct, frozen=True):
    """Who came back from the provider, and what for."""

    identity: Identity
    next_url: str | None
    link_user_id: str | None


class OAuthFlow:
    """The two halves of a login at a provider, for all providers of one app."""

    def __init__(self, auth: Auth, send: Send) -> None:
        self._auth = auth
        self._send = send
        self._documents = ProviderDocuments(send, auth.clock, debug=auth.settings.debug)

    def provider(
        self, name: str, *, client_id: str | None = None, client_secret: str | None = None
    ) -> OAuth2Provider:
        """The provider ``name`` with its credentials, or with those given here instead.

        Raises OAuthNotConfigured if there is none or a credential is missing.
        """
        provider = self._auth.providers.get(name.lower())
        if provider is None:
            raise OAuthNotConfigured("This app has no such way to log in.")
        if client_id:
            options: dict[str, JSON] = {
                "client_id": client_id,
                "client_secret": client_secret or provider.client_secret,
            }
            provider = provider.configured(options, debug=self._auth.settings.debug)
        if not provider.client_id:
            raise OAuthNotConfigured(
                f"Logging in with {provider.label} is not set up: the client id is missing."
            )
        return provider

    def begin(
        self,
        request: WebRequest,
        provider: OAuth2Provider,
        *,
        redirect_uri: str,
        next_url: str | None = None,
        link: User | None = None,
        state: str | None = None,
    ) -> str:
        """Where to send the browser. It is given a cookie that only its own answer can use.

        ``next_url`` must have been checked. ``state``: the caller's own; by default a random one.
        Raises OAuthError, RateLimited, StoreUnavailable.
        """
        auth = self._auth
        auth.limits.hit_client("oauth", request.client, limit=CLIENT_BEGINNINGS, window=BEGINNINGS_WINDOW)
        self._check_redirect_uri(redirect_uri)
        endpoint = provider.authorization_endpoint or self._metadata(provider).authorization_endpoint
        state = state or self._handle()
        secret = self._handle()
        record = FlowRecord(
            provider.name,
            provider.issuer,
            provider.client_id,
            redirect_uri,
            next_url,
            None if link is None else str(link.id),
        )
        self._make_room(request)
        auth.state.put(_key(state, secret), msgspec.json.encode(record), LIFETIME)
        request.set_cookie(_cookie(request, state), f"{int(auth.clock())}.{secret}", max_age=LIFETIME)
        return oauth2.authorization_url(
            endpoint,
            client_id=provider.client_id,
            redirect_uri=redirect_uri,
            scope=" ".join(provider.scopes),
            state=state,
            verifier=oauth2.derive(secret, "verifier"),
            nonce=oauth2.derive(secret, "nonce") if isinstance(provider, OpenIDProvider) else None,
            extra=provider.authorize_parameters,
        )

    def finish(
        self,
        request: WebRequest,
        provider: OAuth2Provider,
        *,
        redirect_uri: str | None = None,
        state: str | None = None,
        expected_state: str | None = None,
        code: str | None = None,
    ) -> Finished:
        """Who came back. Each flow is taken exactly once, whatever comes of it.

        ``state`` and ``code`` default to what the provider sent; ``expected_state``, if given, must
        equal the state, and ``redirect_uri`` the one the flow was begun with. Raises OAuthError.
        """
        try:
            record, secret = self._take(request, state or request.query.get("state"), expected_state)
            return self._finish(request, provider, record, secret, redirect_uri, code)
        except OAuthError as error:
            self._auth.emit("login.failed", method=provider.name, client=request.client, error=error.code)
            raise

    def _take(self, request: WebRequest, state: str | None, expected: str | None) -> tuple[FlowRecord, str]:
        if not state or len(state) > MAX_STATE:
            raise _stale()
        if expected is not None and not hmac.compare_digest(state.encode(), expected.encode()):
            raise _stale()
        name = _cookie(request, state)
        secret = request.cookies.get(name, "").partition(".")[2]
        raw = self._auth.state.take(_key(state, secret)) if secret else None
        if raw is None:
            raise _stale()
        request.set_cookie(name, "", max_age=0)
        return msgspec.json.decode(raw, type=FlowRecord), secret

    def _finish(
        self,
        request: WebRequest,
        provider: OAuth2Provider,
        record: FlowRecord,
        secret: str,
        redirect_uri: str | None,
        code: str | None,
    ) -> Finished:
        begun_with = (record.provider, record.issuer, record.client_id)
        if begun_with != (provider.name, provider.issuer, provider.client_id):
            raise _stale()
        if redirect_uri is not None and redirect_uri != record.redirect_uri:
            raise _stale()
        answer = dict(request.query) if code is None else {**request.query, "code": code}
        metadata = self._metadata(provider) if isinstance(provider, OpenIDProvider) else None
        code = oauth2.read_authorization_response(
            answer,
            issuer=record.issuer,
            announced=metadata is not None and metadata.iss_announced,
            provider=provider.label,
        )
        client = provider.client()
        if metadata is not None and provider.token_auth is None:
            listed = "client_secret_post" in metadata.token_auth
            client = replace(client, auth="client_secret_post" if listed else "client_secret_basic")
        endpoint = provider.token_endpoint or (metadata.token_endpoint if metadata else "")
        verifier = oauth2.derive(secret, "verifier")
        tokens = oauth2.read_token_response(
            self._send(
                oauth2.token_request(
                    endpoint, client, code=code, redirect_uri=record.redirect_uri, verifier=verifier
                )
            )
        )

        def fetch(url: str) -> JSON:
            return read_reply(self._send(oauth2.bearer(url, tokens.access_token)))

        if metadata is not None and isinstance(provider, OpenIDProvider):
            nonce = oauth2.derive(secret, "nonce")
            claims = self._openid_claims(provider, metadata, tokens, nonce)
            address = provider.userinfo_endpoint or metadata.userinfo_endpoint
            if address and not claims.text("email"):
                claims = oidc.merge_userinfo(claims, fetch(address))
        else:
            profile = fetch(provider.userinfo_endpoint) if provider.userinfo_endpoint else dict(tokens.raw)
            if not isinstance(profile, dict):
                raise OAuthReplyInvalid("The provider's answer could not be read. Please try again.")
            claims = Claims(profile)
        try:
            identity = provider.identity(claims, fetch)
        except (LookupError, TypeError, ValueError, AttributeError):
            logger.exception("Provider %r could not read a profile.", provider.name)
            raise OAuthReplyInvalid("The provider's answer could not be read. Please try again.") from None
        if not isinstance(identity.subject, str) or not identity.subject:
            raise OAuthSubjectInvalid(
                "The provider did not say who you are. Please try another way to log in."
            )
        identity = replace(
            identity,
            issuer=provider.issuer,
            provider=provider.name,
            email_verified=identity.email is not None and identity.email_verified is True,
        )
        return Finished(identity, record.next_url, record.link_user_id)

    def _openid_claims(
        self, provider: OpenIDProvider, metadata: oidc.Metadata, tokens: oauth2.Tokens, nonce: str
    ) -> Claims:
        kid = oidc.key_id(tokens.id_token, provider.id_token_algorithm)
        return oidc.check_id_token(
            tokens.id_token,
            self._documents.keys(metadata.jwks_uri, kid),
            issuer=provider.issuer,
            client_id=provider.client_id,
            nonce=nonce,
            algorithm=provider.id_token_algorithm,
            now=self._auth.clock(),
        )

    def _metadata(self, provider: OAuth2Provider) -> oidc.Metadata:
        return self._documents.metadata(provider.issuer)

    def _check_redirect_uri(self, uri: str) -> None:
        debug = self._auth.settings.debug
        if not is_secure(uri.replace("http://", "https://", 1) if debug else uri, debug=debug):
            raise OAuthAddressInsecure(
                "The address the provider sends people back to must be https; plain http only in DEBUG."
            )

    def _make_room(self, request: WebRequest) -> None:
        """Forget the oldest logins under way in this browser, so that cookies do not pile up."""
        mine = {name: value for name, value in request.cookies.items() if COOKIE in name}
        by_age = sorted(mine, key=lambda name: mine[name].partition(".")[0].rjust(20, "0"))
        for name in by_age[: max(0, len(by_age) - MAX_FLOWS + 1)]:
            request.set_cookie(name, "", max_age=0)

    def _handle(self) -> str:
        return base64.urlsafe_b64encode(self._auth.random(32)).rstrip(b"=").decode()


def user_info(identity: Identity) -> dict[str, JSON]:
    """An identity in the form the framework documents, plus issuer, provider and email_verified."""
    return {
        "provider": identity.provider,
        "provider_id": identity.subject,
        "issuer": identity.issuer,
        "email": identity.email,
        "email_verified": identity.email_verified,
        "name": identity.name,
        "picture": identity.picture,
        "raw": dict(identity.raw),
    }


def _key(state: str, secret: str) -> str:
    """Found only by who has both the state and the cookie of the browser that started."""
    return f"oauth:{handle_digest(f'{state}.{secret}')}"


def _cookie(request: WebRequest, state: str) -> str:
    """One cookie for each flow. ``__Host-`` keeps other hosts of the domain from setting it."""
    return f"{'__Host-' if request.secure else ''}{COOKIE}{handle_digest(state)[:16]}"


def _stale() -> OAuthStateInvalid:
    return OAuthStateInvalid(
        "This login took too long, was finished already, or was begun in another browser. Please start again."
    )
