"""A provider is data: attributes, and a method that reads the identity.

The core handles state, PKCE, nonce, cookies, pages and HTTP. An attribute can be overridden for one app in
``AUTH["PROVIDERS"][name]``, under the same name, unless it is one of :data:`FIXED`: those say what the
provider's protocol is like, and no app may switch a check off.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast

from .engine.email_address import email_domain, parse_email
from .engine.jwk import ALGORITHMS
from .engine.message import Claims
from .engine.oauth2 import OWN_PARAMETERS, Client, TokenAuth
from .engine.suggest import did_you_mean
from .engine.urls import is_secure
from .errors import EmailInvalid, SettingError
from .types import JSON, Identity

Fetch = Callable[[str], JSON]
"""GETs a URL with the user's access token and returns the JSON; None if it cannot be read."""

FIXED = frozenset({"name", "endpoints", "pkce", "response_mode", "sends_nonce"})
"""Attributes that only a provider's class sets."""

P = TypeVar("P", bound="OAuth2Provider")


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What a provider sent in addition to the profile.

    ``tokens`` is the token response without the tokens. ``form`` holds the fields that came through the
    browser with ``response_mode = "form_post"``, such as Apple's ``user``: the user can change them, so use
    them for a name at most, never for an email address or an id.
    """

    tokens: Claims = field(repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)


class OAuth2Provider:
    """An OAuth 2.0 provider without OpenID; write :meth:`identity`."""

    name: str = ""
    """In paths and settings: lower-case letters, digits, ``-`` and ``_``."""
    label: str = ""
    """The name users see, as in "Continue with GitHub"."""
    issuer: str = ""
    """The URL that, together with the subject, identifies a user permanently."""
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    userinfo_endpoint: str | None = None
    """GET with the access token; the answer is passed to :meth:`identity`."""
    scopes: tuple[str, ...] = ()
    authorize_parameters: Mapping[str, str] = {}
    """Extra parameters of the authorization request, such as ``{"prompt": "select_account"}``."""
    token_auth: str | None = "client_secret_post"  # noqa: S105 - the name of a method
    """``client_secret_post``, ``client_secret_basic``, or ``none`` for a client without a secret."""
    client_id: str = ""
    client_secret: str = ""
    pkce: bool = True
    """False only for a provider that rejects PKCE (RFC 7636). State still binds the answer to the browser."""
    response_mode: Literal["query", "form_post"] = "query"
    """``form_post``: the answer comes as a cross-site POST (OAuth 2.0 Form Post Response Mode), which the
    callback page passes on to itself as a GET."""
    trusted_email_domains: tuple[str, ...] = ()
    """Domains of email addresses that the provider is trusted for: see :meth:`trusted_for_email`."""

    def trusted_for_email(self, identity: Identity) -> bool:
        """True if the provider is trusted for the identity's verified email address.

        Then a login joins an existing account with that address and marks the address as verified. Override
        it for a provider that is the authority for an address, or checks each of them by mail. By default,
        only the domains in ``trusted_email_domains`` are trusted.
        """
        return email_domain(identity.email or "") in self.trusted_email_domains

    def client_secret_for(self, now: float) -> str:
        """The client secret for a token request at ``now`` (seconds since the epoch).

        Override it for a provider whose secret is a token that the app signs. It is asked for each request
        and kept nowhere. An exception rejects the login.
        """
        return self.client_secret

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        """The identity in this profile.

        ``claims.subject("id")`` returns the permanent id, or rejects the profile. ``email_verified``
        may be True only if the provider says so with the boolean ``true``. ``fetch`` makes a second call;
        ``answer`` is what the provider sent in addition.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement identity().")

    @property
    def endpoints(self) -> dict[str, str]:
        """The provider's URLs that are known without discovery."""
        named = {name: getattr(self, name, "") for name in ("issuer", *_ENDPOINTS)}
        return {name: str(value) for name, value in named.items() if value}

    def client(self) -> Client:
        """This app at the provider. Raises SettingError for an unknown ``token_auth``."""
        auth = self.token_auth or "client_secret_post"
        if auth not in ("client_secret_post", "client_secret_basic", "none"):
            raise SettingError(
                f"{self._where('token_auth')} must be 'client_secret_post', 'client_secret_basic' or 'none', "
                f"got {auth!r}."
            )
        return Client(self.client_id, self.client_secret, cast("TokenAuth", auth))

    def configured(self: P, options: Mapping[str, JSON], *, debug: bool = False) -> P:
        """A copy with ``options`` in place of the attributes of those names.

        Raises SettingError for an unknown name, a wrong type, a missing attribute or a URL
        that is not https (loopback in DEBUG).
        """
        provider = copy.copy(self)
        known = {name for name in dir(self) if not name.startswith("_") and not callable(getattr(self, name))}
        known -= FIXED
        for key, value in options.items():
            if key == "type":
                continue
            if key not in known:
                hint = did_you_mean(key, known) or f"Known: {', '.join(sorted(known))}."
                raise SettingError(f"{self._where(key)} is not a setting of this provider. {hint}")
            setattr(provider, key, self._typed(key, value))
        provider._check(debug)
        return provider

    def _typed(self, key: str, value: JSON) -> object:
        wanted = getattr(self, key)
        if isinstance(wanted, bool):
            if isinstance(value, bool):
                return value
        elif isinstance(wanted, tuple):
            items = value.split() if isinstance(value, str) else value
            if isinstance(items, list | tuple) and all(isinstance(item, str) for item in items):
                return tuple(items)
        elif isinstance(wanted, Mapping):
            if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
                return dict(value)
        elif isinstance(value, str) or (value is None and not wanted):
            return value or ""
        kind = {bool: "True or False", tuple: "a list of strings"}.get(type(wanted), "a string")
        if isinstance(wanted, Mapping):
            kind = "a mapping of strings"
        raise SettingError(f"{self._where(key)} must be {kind}, got {type(value).__name__}.")

    def _check(self, debug: bool) -> None:
        for name in ("name", "label", *self._needed()):
            if not getattr(self, name):
                raise SettingError(f"{self._where(name)} is missing.")
        if not re.fullmatch(r"[a-z0-9_-]*[a-z0-9][a-z0-9_-]*", self.name):
            raise SettingError(
                f"The provider name {self.name!r} must be lowercase letters a-z, digits, - and _."
            )
        for name, url in self.endpoints.items():
            if not is_secure(url, debug=debug):
                raise SettingError(
                    f"{self._where(name)} must be an https URL (http only to loopback in DEBUG); got {url!r}."
                )
        for name in self.authorize_parameters:
            if name in OWN_PARAMETERS:
                raise SettingError(f"{self._where('authorize_parameters')} cannot set {name!r}.")
        for domain in self.trusted_email_domains:
            if not _is_domain(domain):
                raise SettingError(
                    f"{self._where('trusted_email_domains')} must be a list of domains such as "
                    f"'example.com', in lowercase; got {domain!r}."
                )
        client = self.client()
        if not self.pkce and client.auth == "none":
            raise SettingError(f"{self._where('token_auth')} cannot be 'none' for a provider without PKCE.")
        if self.response_mode not in ("query", "form_post"):
            raise SettingError(
                f"The response_mode of provider {self.name!r} must be 'query' or 'form_post', got "
                f"{self.response_mode!r}."
            )

    def _needed(self) -> tuple[str, ...]:
        return ("issuer", "authorization_endpoint", "token_endpoint")

    def _where(self, key: str) -> str:
        return f'AUTH["PROVIDERS"]["{self.name}"]["{key}"]'


class OpenIDProvider(OAuth2Provider):
    """An OpenID Connect provider. ``name``, ``label`` and ``issuer`` are enough.

    Endpoints and keys come from the issuer's discovery document, the identity from its ID token
    and, where that has no email address, from its UserInfo endpoint.
    """

    scopes: tuple[str, ...] = ("openid", "email", "profile")
    token_auth: str | None = None
    """None: what the discovery document offers."""
    id_token_algorithm: str = "RS256"  # noqa: S105 - the name of an algorithm
    """The one algorithm its ID tokens are signed with (asymmetric)."""
    discovery_url: str = ""
    """The URL of the discovery document, if it is not the issuer's with ``/.well-known/…``."""
    sends_nonce: bool = True
    """False only for a provider whose ID tokens carry no nonce. One that carries one is then rejected."""

    def accepts_issuer(self, issuer: str, claims: Claims) -> bool:
        """True if an ID token with these verified claims may come from ``issuer``.

        Override it for a provider with one issuer per tenant, and check the tenant: :attr:`issuer` is then
        what the discovery document says, such as ``https://login.example/{tenantid}/v2.0``, and an identity
        is keyed by the issuer of its token. Anything but True, and any exception, rejects.
        """
        return issuer == self.issuer

    @classmethod
    def named(cls, name: str, *, label: str, issuer: str = "") -> OpenIDProvider:
        """Make a provider that needs no class of its own."""
        provider = cls()
        provider.name, provider.label, provider.issuer = name, label, issuer
        return provider

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        """From the standard claims (OpenID Connect Core 1.0, section 5.1)."""
        return Identity(
            issuer=self.issuer,
            subject=claims.subject("sub"),
            provider=self.name,
            email=claims.text("email"),
            email_verified=claims.is_true("email_verified"),
            name=claims.text("name"),
            picture=claims.text("picture"),
            raw=claims,
        )

    def _needed(self) -> tuple[str, ...]:
        return ("issuer",)

    def _check(self, debug: bool) -> None:
        super()._check(debug)
        if self.id_token_algorithm not in ALGORITHMS:
            raise SettingError(
                f"{self._where('id_token_algorithm')} must be one of {', '.join(ALGORITHMS)}, "
                f"got {self.id_token_algorithm!r}."
            )
        if "openid" not in self.scopes:
            raise SettingError(f"{self._where('scopes')} must contain 'openid'.")


def _is_domain(text: str) -> bool:
    try:
        return parse_email(f"user@{text}") == f"user@{text}"
    except EmailInvalid:
        return False


_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "discovery_url")
