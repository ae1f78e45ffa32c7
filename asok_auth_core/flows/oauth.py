"""Log in with a provider: ``start`` redirects there, ``finish`` reads the answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from ..auth import Auth
from ..engine import oauth2, oidc
from ..engine.message import Claims, Send, read_profile
from ..engine.storable import is_exact, storable
from ..engine.urls import is_secure
from ..errors import OAuthError
from ..providers import Fetch, OAuth2Provider, OpenIDProvider, ProviderAnswer
from ..types import JSON, Identity, Proof, RedactedStruct, User
from ..web import WebRequest
from .oauth_state import FlowRecord, invalid_state, keep, take
from .provider_documents import ProviderDocuments

logger = logging.getLogger("asok_auth")

STARTS_PER_CLIENT = 300
START_WINDOW = 900
SECRETS = frozenset({"access_token", "refresh_token", "id_token"})
"""Fields of a token response that no provider's ``identity()`` gets."""


class Finished(RedactedStruct, frozen=True):
    """A finished provider login: the identity, and what to do with it."""

    shown = ("identity", "trusted", "link_user_id")

    identity: Identity
    trusted: bool
    """True if the provider is trusted for the identity's email address."""
    next_url: str | None
    link_user_id: str | None


class OAuthFlow:
    """Start and finish logins with all providers of one app."""

    def __init__(self, auth: Auth, send: Send) -> None:
        self._auth = auth
        self._send = send
        self._documents = ProviderDocuments(send, auth.clock, debug=auth.settings.app.debug)

    def provider(
        self, name: str, *, client_id: str | None = None, client_secret: str | None = None
    ) -> OAuth2Provider:
        """The provider ``name`` with its credentials, or with those passed here.

        Raises OAuthError ``oauth_not_configured`` if there is none or a credential is missing.
        """
        provider = self._auth.providers.get(name.lower())
        if provider is None:
            raise OAuthError("Unknown login provider.", code="oauth_not_configured")
        if client_id:
            options: dict[str, JSON] = {
                "client_id": client_id,
                "client_secret": client_secret or provider.client_secret,
            }
            provider = provider.configured(options, debug=self._auth.settings.app.debug)
        if not provider.client_id:
            raise OAuthError(
                "Login with {provider} is not configured: the client id is missing.",
                provider=provider.label,
                code="oauth_not_configured",
            )
        return provider

    def start(
        self,
        request: WebRequest,
        provider: OAuth2Provider,
        *,
        redirect_uri: str,
        next_url: str | None = None,
        link: User | None = None,
        state: str | None = None,
    ) -> str:
        """The URL to send the browser to; sets a cookie that binds the answer.

        The caller has checked ``next_url``. ``state``: the caller's own; by default a random one.
        Raises OAuthError, RateLimited, StoreUnavailable.
        """
        auth = self._auth
        auth.limits.hit_client("oauth", request.client_ip, limit=STARTS_PER_CLIENT, window=START_WINDOW)
        self._check_redirect_uri(redirect_uri)
        endpoint = provider.authorization_endpoint or self._metadata(provider).authorization_endpoint
        record = FlowRecord(
            provider.name,
            provider.issuer,
            provider.client_id,
            redirect_uri,
            next_url,
            None if link is None else str(link.id),
        )
        state, secret = keep(auth, request, record, state)
        return oauth2.authorization_url(
            endpoint,
            client_id=provider.client_id,
            redirect_uri=redirect_uri,
            scope=" ".join(provider.scopes),
            state=state,
            verifier=_verifier(provider, secret),
            nonce=_nonce(provider, secret),
            form_post=provider.response_mode == "form_post",
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
        answer: Mapping[str, str] | None = None,
    ) -> Finished:
        """Read the provider's answer; each flow can be finished only once.

        ``answer`` is what the provider sent, by default in the query. ``state`` and ``code`` default to
        what is there; ``expected_state``, if given, must equal the state, and ``redirect_uri`` the one the
        flow was started with. Raises OAuthError.
        """
        sent = dict(request.query if answer is None else answer)
        if code is not None:
            sent["code"] = code
        try:
            record, secret = take(self._auth, request, state or sent.get("state"), expected_state)
            return self._finish(provider, record, secret, redirect_uri, sent)
        except OAuthError as error:
            self._auth.events.emit(
                "login.failed", method=provider.name, client_ip=request.client_ip, error=error.code
            )
            raise

    def _finish(
        self,
        provider: OAuth2Provider,
        record: FlowRecord,
        secret: str,
        redirect_uri: str | None,
        sent: Mapping[str, str],
    ) -> Finished:
        started_with = (record.provider, record.issuer, record.client_id)
        if started_with != (provider.name, provider.issuer, provider.client_id):
            raise invalid_state()
        if redirect_uri is not None and redirect_uri != record.redirect_uri:
            raise invalid_state()
        metadata = self._metadata(provider) if isinstance(provider, OpenIDProvider) else None
        code = oauth2.read_authorization_response(
            sent,
            issuer=None if _has_many_issuers(provider) else record.issuer,
            announced=metadata is not None and metadata.iss_announced,
            provider=provider.label,
        )
        tokens = self._exchange(provider, metadata, record, secret, code)
        beside = {name: value for name, value in tokens.raw.items() if name not in SECRETS}

        def fetch(url: str) -> JSON:
            return read_profile(self._send(oauth2.bearer(url, tokens.access_token)))

        issuer = provider.issuer
        if metadata is not None and isinstance(provider, OpenIDProvider):
            claims = self._openid_claims(provider, metadata, tokens, _nonce(provider, secret))
            issuer = str(claims["iss"])
            if sent.get("iss", issuer) != issuer:
                raise oauth2.wrong_issuer(provider.label)
            address = provider.userinfo_endpoint or metadata.userinfo_endpoint
            if address and not (claims.text("email") and "email_verified" in claims):
                found = _optional(provider, address, fetch)
                claims = claims if found is None else oidc.merge_userinfo(claims, found)
        else:
            profile = fetch(provider.userinfo_endpoint) if provider.userinfo_endpoint else beside
            if not isinstance(profile, dict):
                raise _unreadable()
            claims = Claims(profile)
        form = {name: text for name, text in sent.items() if name not in ("code", "state", "iss")}
        answer = ProviderAnswer(Claims(beside), form if provider.response_mode == "form_post" else {})
        identity = _identity(provider, issuer, claims, lambda url: _optional(provider, url, fetch), answer)
        return Finished(identity, _is_trusted(provider, identity), record.next_url, record.link_user_id)

    def _exchange(
        self,
        provider: OAuth2Provider,
        metadata: oidc.Metadata | None,
        record: FlowRecord,
        secret: str,
        code: str,
    ) -> oauth2.Tokens:
        """Exchange the code for tokens, with the code verifier; never retried."""
        client = replace(provider.client(), secret=self._client_secret(provider))
        if metadata is not None and provider.token_auth is None:
            listed = "client_secret_post" in metadata.token_auth
            client = replace(client, auth="client_secret_post" if listed else "client_secret_basic")
        if not client.secret and client.auth != "none":
            raise OAuthError(
                "Login with {provider} is not configured: the client secret is missing.",
                provider=provider.label,
                code="oauth_not_configured",
            )
        call = oauth2.token_request(
            provider.token_endpoint or (metadata.token_endpoint if metadata else ""),
            client,
            code=code,
            redirect_uri=record.redirect_uri,
            verifier=_verifier(provider, secret),
        )
        return oauth2.read_token_response(self._send(call))

    def _client_secret(self, provider: OAuth2Provider) -> str:
        try:
            return str(provider.client_secret_for(self._auth.clock()))
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises
            # Without the exception's text, which may quote the key.
            kind = type(error).__name__
            logger.error("Provider %r could not make a client secret: %s", provider.name, kind)
            raise OAuthError(
                "Login with {provider} is not configured: the client secret cannot be made.",
                provider=provider.label,
                code="oauth_not_configured",
            ) from None

    def _openid_claims(
        self, provider: OpenIDProvider, metadata: oidc.Metadata, tokens: oauth2.Tokens, nonce: str | None
    ) -> Claims:
        kid = oidc.key_id(tokens.id_token, provider.id_token_algorithm)
        return oidc.check_id_token(
            tokens.id_token,
            self._documents.keys(metadata.jwks_uri, kid),
            accepts=lambda issuer, claims: _accepts(provider, issuer, claims),
            client_id=provider.client_id,
            nonce=nonce,
            algorithm=provider.id_token_algorithm,
            now=self._auth.clock(),
        )

    def authorization_endpoint(self, provider: OAuth2Provider) -> str | None:
        """The URL where users log in at the provider, if it is known without a request."""
        if provider.authorization_endpoint:
            return provider.authorization_endpoint
        known = self._documents.known_metadata(provider.issuer, _discovery_url(provider))
        return None if known is None else known.authorization_endpoint

    def _metadata(self, provider: OAuth2Provider) -> oidc.Metadata:
        return self._documents.metadata(provider.issuer, _discovery_url(provider))

    def _check_redirect_uri(self, uri: str) -> None:
        debug = self._auth.settings.app.debug
        if not is_secure(uri.replace("http://", "https://", 1) if debug else uri, debug=debug):
            raise OAuthError(
                "The redirect URI must be https. Plain http is allowed only in DEBUG.",
                code="oauth_url_insecure",
            )


def _discovery_url(provider: OAuth2Provider) -> str:
    """Where the provider's document lies, if not below its issuer; else ``""``."""
    return provider.discovery_url if isinstance(provider, OpenIDProvider) else ""


def _verifier(provider: OAuth2Provider, secret: str) -> str | None:
    return oauth2.derive(secret, "verifier") if provider.pkce else None


def _nonce(provider: OAuth2Provider, secret: str) -> str | None:
    sent = isinstance(provider, OpenIDProvider) and provider.sends_nonce
    return oauth2.derive(secret, "nonce") if sent else None


def _has_many_issuers(provider: OAuth2Provider) -> bool:
    """True if only the ID token says which of the provider's issuers answered."""
    return (
        isinstance(provider, OpenIDProvider)
        and type(provider).accepts_issuer is not OpenIDProvider.accepts_issuer
    )


def _accepts(provider: OpenIDProvider, issuer: str, claims: Claims) -> bool:
    """True only if the provider's class says exactly True; errors accept nothing."""
    try:
        return provider.accepts_issuer(issuer, claims) is True
    except Exception:
        logger.exception("Provider %r could not check an issuer.", provider.name)
        return False


def _optional(provider: OAuth2Provider, url: str, fetch: Fetch) -> JSON:
    """What ``fetch`` returns for ``url``; None if that cannot be read.

    The user is known without it: it serves the address or the name, and a linked user can still log in.
    """
    try:
        return fetch(url)
    except OAuthError as error:
        logger.warning("%s of provider %r could not be read: %s", url, provider.name, error.message)
        return None


def _identity(
    provider: OAuth2Provider, issuer: str, claims: Claims, fetch: Fetch, answer: ProviderAnswer
) -> Identity:
    """Call the provider's ``identity()`` and check its result."""
    try:
        identity = provider.identity(claims, fetch, answer)
    except (LookupError, TypeError, ValueError, AttributeError):
        logger.exception("Provider %r could not read a profile.", provider.name)
        raise _unreadable() from None
    subject = getattr(identity, "subject", None)  # identity() may return None
    if not isinstance(subject, str) or not is_exact(subject) or not subject:
        logger.error(
            "identity() of provider %r returned %s, not an Identity with a text as its subject.",
            provider.name,
            type(identity).__name__ if subject is None else f"an unusable {type(subject).__name__}",
        )
        raise OAuthError(
            "The provider did not identify you. Please log in another way.", code="oauth_subject"
        )
    # identity() may have read text that no parser of ours has seen.
    email = identity.email if isinstance(identity.email, str) and is_exact(identity.email) else None
    return replace(
        identity,
        issuer=issuer,
        provider=provider.name,
        email=email,
        email_verified=email is not None and identity.email_verified is True,
        name=_text(identity.name),
        picture=_text(identity.picture),
    )


def _text(given: object) -> str | None:
    """``given`` if it is text, made storable; else None."""
    return storable(given) if isinstance(given, str) else None


def _is_trusted(provider: OAuth2Provider, identity: Identity) -> bool:
    """True only if the provider's class says exactly True; errors trust nothing."""
    try:
        return identity.email_verified and provider.trusted_for_email(identity) is True
    except (LookupError, TypeError, ValueError, AttributeError):
        logger.exception("Provider %r could not say whether it is trusted for an email.", provider.name)
        return False


def _unreadable() -> OAuthError:
    return OAuthError("The provider's answer could not be read. Please try again.", code="oauth_reply")


def proof_of(finished: Finished) -> Proof:
    """What a provider login proved: identity, and email address if verified."""
    identity = finished.identity
    email = identity.email if identity.email_verified else None
    return Proof(identity.provider, email, identity, trusted=finished.trusted)


def email_proof(finished: Finished) -> Proof:
    """The email address, on which an app's own page may rely.

    Raises OAuthError if the provider did not verify one.
    """
    proof = proof_of(finished)
    if not proof.email:
        raise OAuthError(
            "The provider did not send a verified email address. Verify it there, or log in another way.",
            code="oauth_email_unverified",
        )
    return replace(proof, identity=None)


def user_info(identity: Identity) -> dict[str, JSON]:
    """An identity as the framework's dictionary, with issuer and verification."""
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
