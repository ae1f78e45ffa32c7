"""Every error this project raises, in one tree.

Each class has a stable ``code`` (for machines, logs and translations) and the HTTP ``status``
a page answers with. The message is for the person who reads it: what was wrong, where, and
what to do. A message never holds a secret, a token or a code.
"""

from __future__ import annotations

from typing import ClassVar


class AuthError(Exception):
    """Base of all errors of asok-auth-core and its plugins.

    ``values`` fill the ``{name}`` placeholders of ``message``; a page translates the text first.
    """

    code: ClassVar[str] = "auth_error"
    status: ClassVar[int] = 400

    def __init__(self, message: str, **values: str | int) -> None:
        self.text = message
        self.values = values
        self.message = message.format(**values) if values else message
        super().__init__(self.message)


# -- start-up -----------------------------------------------------------------------------------


class ConfigurationError(AuthError):
    """The app is set up in a way that cannot work; raised at start-up."""

    code = "configuration"
    status = 500


class SettingError(ConfigurationError):
    """One setting is unknown or has a wrong value; the message names the key, got and wanted."""

    code = "setting"


class PluginError(ConfigurationError):
    """A plugin could not be used; raised in strict mode or where losing it would be a hole."""

    code = "plugin"


# -- tokens (engine) ----------------------------------------------------------------------------


class TokenError(AuthError):
    """A token was refused."""

    code = "token"
    status = 401


class TokenMalformed(TokenError):
    """Not a token this key ring writes: size, alphabet, number of parts, header, JSON or claims."""

    code = "token_malformed"


class TokenSignatureInvalid(TokenError):
    """The signature does not match under any key that is still trusted."""

    code = "token_signature"


class TokenExpired(TokenError):
    """The token was good once; its time is over."""

    code = "token_expired"


class TokenRevoked(TokenError):
    """The token was good once; it has been revoked."""

    code = "token_revoked"


# -- sealed secrets (engine) ---------------------------------------------------------------------


class SealError(AuthError):
    """A sealed secret does not open. Nothing is granted on it."""

    code = "seal"
    status = 503


class SealBroken(SealError):
    """It was changed, was moved to another user or kind, or is no sealed text."""

    code = "seal_broken"


class SealKeyRetired(SealError):
    """It was sealed under a key that was taken out of the key ring."""

    code = "seal_key_retired"


# -- stores, mail -------------------------------------------------------------------------------


class StoreError(AuthError):
    """A store could not do what was asked. Callers fail closed: nothing is granted."""

    code = "store"
    status = 503


class StoreUnavailable(StoreError):
    """The store does not answer, is locked, read-only, full or of another schema version."""

    code = "store_unavailable"


class CredentialExists(StoreError):
    """Another credential with the same kind and identifier is stored already."""

    code = "credential_exists"
    status = 409


class EmailInvalid(AuthError):
    """Not one mail address that mail can be sent to safely."""

    code = "address_invalid"
    status = 400


class MailError(AuthError):
    """A mail was not delivered."""

    code = "mail"
    status = 503


class MailTemporary(MailError):
    """Not delivered this time; the same mail may go through later (connection, 4xx reply)."""

    code = "mail_temporary"


class MailPermanent(MailError):
    """Will not be delivered however often it is tried (5xx reply, refused log-in)."""

    code = "mail_permanent"


# -- logging in ---------------------------------------------------------------------------------


class LoginError(AuthError):
    """A login did not happen."""

    code = "login"
    status = 403


class LoginRejected(LoginError):
    """A ``before_login`` hook, a disabled account or a policy said no."""

    code = "login_rejected"


class LoginExpired(LoginError):
    """The login took too long, was finished already, or was begun in another browser."""

    code = "login_expired"
    status = 400


class CredentialRejected(LoginError):
    """A link, code or other proof was wrong, used already or too old."""

    code = "credential_refused"
    status = 400


class SecondFactorRequired(LoginError):
    """The first factor was right; the second is still missing. ``location`` is where to give it."""

    code = "second_factor_required"
    status = 401

    def __init__(self, message: str, location: str) -> None:
        super().__init__(message)
        self.location = location


class RateLimited(LoginError):
    """Too many attempts. ``retry_after`` is in seconds."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, retry_after: int, **values: str | int) -> None:
        super().__init__(message, **values)
        self.retry_after = retry_after


class LoginRequired(AuthError):
    """Nobody is logged in."""

    code = "login_required"
    status = 401


class PermissionDenied(AuthError):
    """Somebody is logged in and may not do this. ``explanation`` is for developers: DEBUG shows it.

    ``scope`` is the permission, if it is only the request's API token that was not made for it.
    """

    code = "permission_denied"
    status = 403

    def __init__(self, message: str, explanation: str = "", scope: str | None = None) -> None:
        super().__init__(message)
        self.explanation = explanation
        self.scope = scope


class RecentLoginRequired(AuthError):
    """The login is too old for this step."""

    code = "recent_login_required"
    status = 403


class FormExpired(AuthError):
    """A form was sent without the CSRF token of this browser."""

    code = "form_expired"
    status = 403


class OAuthError(LoginError):
    """A login at a provider failed; subclasses or ``code`` say how."""

    code = "oauth"
    status = 400
