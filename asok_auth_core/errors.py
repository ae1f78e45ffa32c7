"""Every error this project raises, in one tree.

Each error has a stable ``code`` (for machines, logs and translations) and the HTTP ``status`` of
the page that shows it. There is a class for what callers catch; where only the reason differs, the
code does. The message is for its reader: what is wrong, where, and what to do. It never contains a
secret, a token, a code or anything a provider wrote.
"""

from __future__ import annotations

from typing import Literal


class AuthError(Exception):
    """Base of all errors of asok-auth-core and its plugins.

    ``values`` fill the ``{name}`` placeholders of ``message``; a page translates the text first.
    """

    code: str = "auth_error"
    status: int = 400

    def __init__(self, message: str, **values: str | int) -> None:
        self.text = message
        self.values = values
        self.message = message.format(**values) if values else message
        super().__init__(self.message)


# -- startup ------------------------------------------------------------------------------------


class ConfigurationError(AuthError):
    """The app's configuration cannot work; raised at startup.

    ``code="plugin"``: a plugin cannot be used, in strict mode or where the app would be less safe
    without it.
    """

    code = "configuration"
    status = 500

    def __init__(self, message: str, *, code: Literal["plugin"] | None = None, **values: str | int) -> None:
        super().__init__(message, **values)
        self.code = code or self.code


class SettingError(ConfigurationError):
    """A setting is unknown or wrong; the message names the key and the fix."""

    code = "setting"


class PluginFailed(AuthError):
    """A plugin raised an error or returned the wrong type, so nothing was granted."""

    code = "plugin_failed"
    status = 500


# -- tokens (engine) ----------------------------------------------------------------------------

TokenCode = Literal["token_malformed", "token_signature", "token_revoked"]
"""Why a token was rejected:

- ``token_malformed``: not a token this key ring writes (size, alphabet, parts, header, claims);
- ``token_signature``: no trusted key made its signature;
- ``token_revoked``: it was revoked, or its user is not allowed to log in.
"""


class TokenError(AuthError):
    """A token was rejected; ``code`` says why."""

    code = "token"
    status = 401

    def __init__(self, message: str, *, code: TokenCode | None = None, **values: str | int) -> None:
        super().__init__(message, **values)
        self.code = code or self.code


class SignerUnavailable(AuthError):
    """A token signer failed, so tokens can be neither signed nor checked now."""

    code = "signer_unavailable"
    status = 503


class TokenExpired(TokenError):
    """The token has expired."""

    code = "token_expired"


# -- sealed secrets (engine) ---------------------------------------------------------------------

SealCode = Literal["seal_broken", "seal_key_retired"]
"""``seal_broken``: changed, moved to another user or kind, or not a sealed text.
``seal_key_retired``: sealed with a key that is no longer in the key ring.
"""


class SealError(AuthError):
    """A sealed secret cannot be opened, so nothing is granted; ``code`` says why."""

    code = "seal"
    status = 503

    def __init__(self, message: str, *, code: SealCode | None = None, **values: str | int) -> None:
        super().__init__(message, **values)
        self.code = code or self.code


# -- stores, mail -------------------------------------------------------------------------------


class StoreError(AuthError):
    """A store operation failed. Callers fail closed: nothing is granted."""

    code = "store"
    status = 503


class StoreUnavailable(StoreError):
    """The store does not answer, is locked, read-only, full or of another version."""

    code = "store_unavailable"


class CredentialExists(StoreError):
    """Another credential with the same kind and identifier is stored already."""

    code = "credential_exists"
    status = 409


class EmailInvalid(AuthError):
    """Not exactly one email address that is safe to send mail to."""

    code = "address_invalid"
    status = 400


class MailError(AuthError):
    """A mail was not delivered."""

    code = "mail"
    status = 503


class MailTemporary(MailError):
    """Delivery failed this time and may work later (connection error, 4xx reply)."""

    code = "mail_temporary"


class MailPermanent(MailError):
    """Delivery fails and a retry would not help (5xx reply, rejected login)."""

    code = "mail_permanent"


# -- requests -----------------------------------------------------------------------------------

BodyCode = Literal["body_malformed", "body_too_large", "body_type"]
"""Why a request's body was rejected:

- ``body_malformed``: it is not the JSON that it should be;
- ``body_too_large``: it has more bytes than are read;
- ``body_type``: its Content-Type is not ``application/json``.
"""

_BODY_STATUS = {"body_too_large": 413, "body_type": 415}


class BodyInvalid(AuthError):
    """The body of a request cannot be read; ``code`` determines the status."""

    code = "body"
    status = 400

    def __init__(self, message: str, *, code: BodyCode, **values: str | int) -> None:
        super().__init__(message, **values)
        self.code = code
        self.status = _BODY_STATUS.get(code, self.status)


# -- logging in ---------------------------------------------------------------------------------


class LoginError(AuthError):
    """A login failed."""

    code = "login"
    status = 403


class LoginRejected(LoginError):
    """A policy or ``before_login`` rejected the login, or the account is disabled."""

    code = "login_rejected"


class AccountExists(LoginError):
    """The user directory has an account with this email address."""

    code = "account_exists"
    status = 409


class LoginExpired(LoginError):
    """The login took too long, was finished, or started in another browser."""

    code = "login_expired"
    status = 400


class CredentialRejected(LoginError):
    """A link, code or other proof is wrong, expired or used already."""

    code = "credential_rejected"
    status = 400


class LoginUnfinished(LoginError):
    """The first factor was verified; the login goes on at the page ``location``."""

    code = "login_unfinished"
    status = 401

    def __init__(self, message: str, location: str) -> None:
        super().__init__(message)
        self.location = location


class SecondFactorRequired(LoginUnfinished):
    """The first factor was verified; the second is needed, on the page ``location``."""

    code = "second_factor_required"


class RateLimited(LoginError):
    """Too many attempts. ``retry_after`` is in seconds."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, retry_after: int, **values: str | int) -> None:
        super().__init__(message, **values)
        self.retry_after = retry_after


class LoginRequired(AuthError):
    """No user is logged in."""

    code = "login_required"
    status = 401


class NotFound(AuthError):
    """There is no page, or nothing to show on it, at this URL."""

    code = "not_found"
    status = 404


class PermissionDenied(AuthError):
    """The user may not do this. ``explanation`` is shown in DEBUG.

    ``scope`` is the permission, if only the scopes of the request's API token lack it.
    ``code="form_expired"``: a form was sent without the CSRF token of this browser.
    """

    code = "permission_denied"
    status = 403

    def __init__(
        self,
        message: str,
        explanation: str = "",
        scope: str | None = None,
        *,
        code: Literal["form_expired"] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.explanation = explanation
        self.scope = scope


class RecentLoginRequired(AuthError):
    """The user must log in again for this step: the last login is too long ago."""

    code = "recent_login_required"
    status = 403


# -- logging in with a provider -----------------------------------------------------------------

OAuthCode = Literal[
    "oauth_not_configured",
    "oauth_url_insecure",
    "oauth_state",
    "oauth_response_issuer",
    "oauth_rejected",
    "oauth_unavailable",
    "oauth_busy",
    "oauth_reply_too_large",
    "oauth_redirected",
    "oauth_reply",
    "oauth_token_rejected",
    "oauth_discovery",
    "oauth_subject",
    "oauth_email_unverified",
    "oauth_link_required",
    "oauth_identity_taken",
    "oauth_last_login_method",
]
"""Why a login with a provider failed:

- ``oauth_not_configured``: the provider is unknown, or its client id or secret is missing;
- ``oauth_url_insecure``: a URL is not https (or loopback in DEBUG), or not a URL;
- ``oauth_state``: ``state`` is missing, unknown, used, expired, or of another browser or provider;
- ``oauth_response_issuer``: the answer's ``iss`` is missing or names another issuer (RFC 9207);
- ``oauth_rejected``: the provider answered with an error, or without a code;
- ``oauth_unavailable``: the provider does not answer, is too slow, or has a server error;
- ``oauth_busy``: too many calls to the provider are in progress in this process;
- ``oauth_reply_too_large``: the provider's reply is larger than any honest one;
- ``oauth_redirected``: the provider redirected a call that carries a secret; it was not followed;
- ``oauth_reply``: the reply is not the expected JSON;
- ``oauth_token_rejected``: the token endpoint answered with an error, with whatever HTTP status;
- ``oauth_discovery``: the discovery document lacks something or names another issuer;
- ``oauth_subject``: the provider did not identify the user, or named two different users;
- ``oauth_email_unverified``: the provider gave no email address, or did not verify it;
- ``oauth_link_required``: an account with this unverified email address exists: log in first;
- ``oauth_identity_taken``: this identity belongs to another account of the app;
- ``oauth_last_login_method``: without this identity the account would have no login method.
"""

_OAUTH_STATUS: dict[str, int] = {
    "oauth_not_configured": 404,
    "oauth_url_insecure": 502,
    "oauth_unavailable": 503,
    "oauth_busy": 503,
    "oauth_reply_too_large": 502,
    "oauth_redirected": 502,
    "oauth_reply": 502,
    "oauth_discovery": 502,
    "oauth_email_unverified": 403,
    "oauth_link_required": 403,
    "oauth_identity_taken": 409,
    "oauth_last_login_method": 409,
}


class OAuthError(LoginError):
    """A login with a provider failed; ``code`` says why and determines the status."""

    code = "oauth"
    status = 400

    def __init__(self, message: str, *, code: OAuthCode | None = None, **values: str | int) -> None:
        super().__init__(message, **values)
        self.code = code or self.code
        self.status = _OAUTH_STATUS.get(self.code, self.status)


class OAuthDenied(OAuthError):
    """The user canceled at the provider (``error=access_denied``)."""

    code = "oauth_denied"
    status = 403


IDTokenCode = Literal[
    "oauth_id_token",
    "oauth_algorithm",
    "oauth_critical",
    "oauth_key_unknown",
    "oauth_key_weak",
    "oauth_signature",
    "oauth_issuer",
    "oauth_audience",
    "oauth_authorized_party",
    "oauth_expired",
    "oauth_issued_at",
    "oauth_nonce",
]
"""Why an ID token was rejected:

- ``oauth_id_token``: it is missing, malformed or too large;
- ``oauth_algorithm``: not signed with the algorithm that is registered for this provider;
- ``oauth_critical``: its header requires something that is not supported (``crit``, ``b64``);
- ``oauth_key_unknown``: signed with a key the provider does not publish;
- ``oauth_key_weak``: signed with an RSA key of fewer than 2,048 bits;
- ``oauth_signature``: the signature does not match;
- ``oauth_issuer``: it has another issuer;
- ``oauth_audience``: it was issued to another app;
- ``oauth_authorized_party``: ``azp`` names another app, or is missing where it is needed;
- ``oauth_expired``: ``exp`` has passed, is missing or not a number;
- ``oauth_issued_at``: ``iat`` or ``nbf`` is in the future, or ``iat`` is missing or not a number;
- ``oauth_nonce``: ``nonce`` is missing or belongs to another login.
"""


class IDTokenInvalid(OAuthError):
    """An ID token was rejected; ``code`` says which check failed."""

    def __init__(self, message: str, *, code: IDTokenCode) -> None:
        super().__init__(message)
        self.code = code
