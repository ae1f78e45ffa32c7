"""Why a login at a provider failed: one class and one stable ``code`` for each reason.

They are all :class:`~asok_auth_core.errors.OAuthError`. Messages are for the person at the browser;
none holds a code, a token, a secret or anything a provider wrote.
"""

from __future__ import annotations

from .errors import OAuthError

# -- the app's own set-up ------------------------------------------------------------------------


class OAuthNotConfigured(OAuthError):
    """The provider is unknown, or its client id or secret is missing."""

    code = "oauth_not_configured"
    status = 404


class OAuthURLInsecure(OAuthError):
    """An address of the provider is not https (or loopback in DEBUG), or not an address at all."""

    code = "oauth_insecure_address"
    status = 502


# -- the answer to the authorization request ----------------------------------------------------


class OAuthStateInvalid(OAuthError):
    """State absent, unknown, used, too old, of another browser or of another provider."""

    code = "oauth_state"


class OAuthResponseIssuer(OAuthError):
    """The answer's ``iss`` is missing or another's (RFC 9207): a mix-up of providers."""

    code = "oauth_response_issuer"


class OAuthDenied(OAuthError):
    """The person said no at the provider (``error=access_denied``)."""

    code = "oauth_denied"
    status = 403


class OAuthRejected(OAuthError):
    """The provider answered with another error, or without a code."""

    code = "oauth_refused"


# -- calls to the provider ------------------------------------------------------------------------


class OAuthUnavailable(OAuthError):
    """The provider does not answer, answers too slowly, or with a server error."""

    code = "oauth_unavailable"
    status = 503


class OAuthReplyTooLarge(OAuthError):
    """The provider's reply is larger than any honest one."""

    code = "oauth_reply_too_large"
    status = 502


class OAuthRedirected(OAuthError):
    """The provider redirected a call that carries a secret; it was not followed."""

    code = "oauth_redirected"
    status = 502


class OAuthReplyInvalid(OAuthError):
    """The provider's reply is not the JSON that was asked for."""

    code = "oauth_reply"
    status = 502


class OAuthTokenRejected(OAuthError):
    """The token endpoint answered with an error, with whatever HTTP status."""

    code = "oauth_token_refused"


class OAuthDiscoveryInvalid(OAuthError):
    """The discovery document lacks something or names another issuer."""

    code = "oauth_discovery"
    status = 502


# -- the ID token ---------------------------------------------------------------------------------


class IDTokenInvalid(OAuthError):
    """The ID token is missing, malformed or too large; base of the reasons below."""

    code = "oauth_id_token"


class IDTokenAlgorithm(IDTokenInvalid):
    """Not signed with the algorithm that is registered for this provider."""

    code = "oauth_algorithm"


class IDTokenCritical(IDTokenInvalid):
    """Its header makes a demand that is not understood (``crit``, ``b64``)."""

    code = "oauth_critical"


class IDTokenKeyUnknown(IDTokenInvalid):
    """Signed with a key the provider does not publish."""

    code = "oauth_key_unknown"


class IDTokenKeyWeak(IDTokenInvalid):
    """Signed with an RSA key of fewer than 2,048 bits."""

    code = "oauth_key_weak"


class IDTokenSignature(IDTokenInvalid):
    """The signature does not match."""

    code = "oauth_signature"


class IDTokenIssuer(IDTokenInvalid):
    """Issued by somebody else."""

    code = "oauth_issuer"


class IDTokenAudience(IDTokenInvalid):
    """Meant for another app."""

    code = "oauth_audience"


class IDTokenAuthorizedParty(IDTokenInvalid):
    """``azp`` is another app's, or missing where it is needed."""

    code = "oauth_authorized_party"


class IDTokenExpired(IDTokenInvalid):
    """``exp`` is over, missing or not a number."""

    code = "oauth_expired"


class IDTokenIssuedAt(IDTokenInvalid):
    """``iat`` or ``nbf`` is in the future, or ``iat`` is missing or not a number."""

    code = "oauth_issued_at"


class IDTokenNonce(IDTokenInvalid):
    """``nonce`` is missing or belongs to another login."""

    code = "oauth_nonce"


# -- who it is ------------------------------------------------------------------------------------


class OAuthSubjectInvalid(OAuthError):
    """The provider did not say who this is, or the two places where it did disagree."""

    code = "oauth_subject"


class OAuthEmailUnverified(OAuthError):
    """The provider gave no mail address, or did not verify it."""

    code = "oauth_address_unproved"
    status = 403


class OAuthLinkRequired(OAuthError):
    """An account with this address exists, and its address was never proved: log in first."""

    code = "oauth_link_required"
    status = 403


class OAuthIdentityTaken(OAuthError):
    """This identity belongs to another account of the app."""

    code = "oauth_identity_taken"
    status = 409


class LastLoginMethod(OAuthError):
    """Taking this identity away would leave the account without any way to log in."""

    code = "oauth_last_way_in"
    status = 409
