"""Checked by mypy, never run: a misspelled error code is a type error."""

from asok_auth_core.errors import (
    BodyInvalid,
    ConfigurationError,
    IDTokenInvalid,
    OAuthError,
    PermissionDenied,
    SealError,
    TokenError,
)

ConfigurationError("text", code="plugin")
ConfigurationError("text", code="plugn")  # type: ignore[arg-type]
BodyInvalid("text", code="body_type")
BodyInvalid("text", code="body_typ")  # type: ignore[arg-type]
TokenError("text", code="token_revoked")
TokenError("text", code="token_revokd")  # type: ignore[arg-type]
SealError("text", code="seal_broken")
SealError("text", code="seal_brokn")  # type: ignore[arg-type]
PermissionDenied("text", code="form_expired")
PermissionDenied("text", code="form_expird")  # type: ignore[arg-type]
OAuthError("text", code="oauth_state", provider="Example")
OAuthError("text", code="oauth_stat")  # type: ignore[arg-type]
OAuthError("text", code="oauth_nonce")  # type: ignore[arg-type]
IDTokenInvalid("text", code="oauth_nonce")
IDTokenInvalid("text", code="oauth_nonc")  # type: ignore[arg-type]
IDTokenInvalid("text")  # type: ignore[call-arg]
