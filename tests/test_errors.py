"""Every error has the code and the HTTP status that clients rely on."""

from __future__ import annotations

import inspect
from typing import get_args, get_type_hints

from asok_auth_core import errors
from asok_auth_core.errors import AuthError, OAuthError

STATUS_OF = {
    "auth_error": 400,
    "configuration": 500,
    "setting": 500,
    "plugin": 500,
    "plugin_failed": 500,
    "signer_unavailable": 503,
    "token": 401,
    "token_malformed": 401,
    "token_signature": 401,
    "token_expired": 401,
    "token_revoked": 401,
    "seal": 503,
    "seal_broken": 503,
    "seal_key_retired": 503,
    "store": 503,
    "store_unavailable": 503,
    "credential_exists": 409,
    "address_invalid": 400,
    "mail": 503,
    "mail_temporary": 503,
    "not_found": 404,
    "mail_permanent": 503,
    "body_malformed": 400,
    "body_too_large": 413,
    "body_type": 415,
    "login": 403,
    "login_rejected": 403,
    "account_exists": 409,
    "login_expired": 400,
    "credential_rejected": 400,
    "login_unfinished": 401,
    "second_factor_required": 401,
    "rate_limited": 429,
    "login_required": 401,
    "permission_denied": 403,
    "recent_login_required": 403,
    "form_expired": 403,
    "oauth": 400,
    "oauth_not_configured": 404,
    "oauth_url_insecure": 502,
    "oauth_state": 400,
    "oauth_response_issuer": 400,
    "oauth_denied": 403,
    "oauth_rejected": 400,
    "oauth_unavailable": 503,
    "oauth_busy": 503,
    "oauth_reply_too_large": 502,
    "oauth_redirected": 502,
    "oauth_reply": 502,
    "oauth_token_rejected": 400,
    "oauth_discovery": 502,
    "oauth_id_token": 400,
    "oauth_algorithm": 400,
    "oauth_critical": 400,
    "oauth_key_unknown": 400,
    "oauth_key_weak": 400,
    "oauth_signature": 400,
    "oauth_issuer": 400,
    "oauth_audience": 400,
    "oauth_authorized_party": 400,
    "oauth_expired": 400,
    "oauth_issued_at": 400,
    "oauth_nonce": 400,
    "oauth_subject": 400,
    "oauth_email_unverified": 403,
    "oauth_link_required": 403,
    "oauth_identity_taken": 409,
    "oauth_last_login_method": 409,
}
ARGUMENTS: dict[str, object] = {"location": "/", "retry_after": 1}


def every_error() -> list[AuthError]:
    """One error of each class, and one of each code that its constructor takes."""
    found = []
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, AuthError):
            taken = inspect.signature(kind).parameters
            given = {name: value for name, value in ARGUMENTS.items() if name in taken}
            if "code" not in taken or taken["code"].default is None:
                found.append(kind("text", **given))
            if "__init__" in vars(kind):
                codes = texts(get_type_hints(kind.__init__).get("code"))
                found += [kind("text", code=code, **given) for code in sorted(codes)]
    return found


def texts(hint: object) -> set[str]:
    """The strings of ``Literal[...]`` and of ``Literal[...] | None``."""
    return {hint} if isinstance(hint, str) else {text for part in get_args(hint) for text in texts(part)}


def test_every_code_has_its_status() -> None:
    made = every_error()
    assert {error.code: error.status for error in made} == STATUS_OF
    assert len({(error.code, error.status) for error in made}) == len(STATUS_OF), "one status for each code"


def test_values_fill_the_message_and_keep_the_text() -> None:
    error = OAuthError("Log in with {provider}.", code="oauth_state", provider="Example")
    assert (error.text, error.message) == ("Log in with {provider}.", "Log in with Example.")
    assert (error.code, error.status) == ("oauth_state", 400)
