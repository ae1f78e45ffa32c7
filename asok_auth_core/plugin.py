"""All that a plugin imports: ``from asok_auth_core.plugin import …``.

An app imports :mod:`asok_auth_core`, a plugin this module, a test :mod:`asok_auth_core.testing`. Everything
deeper is private and may change in any release; what stands here and in :mod:`asok_auth_core.hookspecs` is
what :data:`API_VERSION` counts.
"""

from __future__ import annotations

from .auth import Auth
from .commands import current_auth
from .commands.shared import find_user
from .contracts import (
    AccountGroup,
    AccountSection,
    CredentialStore,
    FrameworkFactor,
    FrameworkFactors,
    LoginMethod,
    MailTransport,
    RevocationMark,
    SealedValues,
    SecondFactor,
    Signer,
    SignUpStep,
    StateStore,
    UserDirectory,
)
from .engine.email_address import account_key, parse_email
from .engine.keys import KeyRing, digest
from .engine.message import Claims
from .engine.permissions import PermissionSet, compile_grants
from .engine.sealing import NONCE_BYTES, Sealer
from .engine.urls import is_loopback_host, is_loopback_ip, safe_next
from .engine.user_agent import browser_name
from .errors import (
    AccountExists,
    AuthError,
    BodyInvalid,
    ConfigurationError,
    CredentialExists,
    CredentialRejected,
    EmailInvalid,
    LoginExpired,
    LoginRejected,
    LoginRequired,
    LoginUnfinished,
    MailError,
    MailPermanent,
    MailTemporary,
    NotFound,
    OAuthDenied,
    OAuthError,
    PermissionDenied,
    RateLimited,
    RecentLoginRequired,
    SealError,
    SecondFactorRequired,
    SettingError,
    SignerUnavailable,
    StoreUnavailable,
    TokenError,
    TokenExpired,
)
from .events import Events
from .flows.api_tokens import ApiToken, ApiTokens, VerifiedToken
from .flows.current_request import current_request
from .flows.current_user import require_login
from .flows.email_change import change_email, restore_email
from .flows.email_proofs import EmailProofs, IssuedProof, VerifiedEmail
from .flows.factor_policy import second_factor_required
from .flows.login import complete_login, log_in_once
from .flows.permissions import Explanation, can, require, user_can, user_explain
from .flows.receipts import Receipt, mark_browser
from .flows.recent_login import require_recent_login
from .flows.recovery_codes import issue_recovery_codes, recovery_codes_left, renew_recovery_codes
from .flows.second_factor import (
    check_second_factor,
    complete_enrolment,
    complete_second_factor,
    count_factor_attempt,
    enrolling_user,
    import_factor,
    remove_factor,
    reset_factors,
    waiting_login,
)
from .flows.sessions import end_sessions, sessions_of
from .flows.user_data import export_user, remove_user
from .flows.verified_emails import is_email_verified
from .hookspecs import API_VERSION, PluginManifest, hookimpl
from .limits import Limits
from .mail.message import Sender, build_message
from .mail.outbox import Delivery, DeliveryState, Outbox
from .mail.smtp import SmtpTransport
from .methods.oauth_api import OAuthApi
from .methods.recovery import show_recovery_codes
from .methods.token_api import TokenApi
from .pages.confirmation import confirmation
from .pages.login_page import login_page
from .pages.messages import leave_message, to_account
from .pages.problems import error_text
from .pages.render import fragment, page, render
from .paths import ACCOUNT_PATH, LOGIN_PATH
from .providers import Fetch, OAuth2Provider, OpenIDProvider, ProviderAnswer
from .settings import AppConfig, MailSettings, Settings
from .stores.bounds import checked_ttl, checked_value, encoded_key
from .stores.memory import MemoryStateStore
from .stores.rows import Changed, change_row
from .stores.sealed_rows import SealedRows
from .stores.sqlite import SQLiteStateStore
from .types import (
    JSON,
    Authentication,
    Clock,
    Credential,
    Event,
    Finding,
    Grant,
    Identity,
    Installation,
    LoginAttempt,
    Newcomer,
    OutgoingMail,
    PluginInfo,
    Proof,
    Random,
    RedactedStruct,
    SessionRecord,
    StateOperation,
    StateResult,
    User,
)
from .web import MAX_JSON_BYTES, Handler, Route, Session, WebRequest, WebResponse

__all__ = [
    "ACCOUNT_PATH",
    "API_VERSION",
    "JSON",
    "LOGIN_PATH",
    "MAX_JSON_BYTES",
    "NONCE_BYTES",
    "AccountExists",
    "AccountGroup",
    "AccountSection",
    "ApiToken",
    "ApiTokens",
    "AppConfig",
    "Auth",
    "AuthError",
    "Authentication",
    "BodyInvalid",
    "Changed",
    "Claims",
    "Clock",
    "ConfigurationError",
    "Credential",
    "CredentialExists",
    "CredentialRejected",
    "CredentialStore",
    "Delivery",
    "DeliveryState",
    "EmailInvalid",
    "EmailProofs",
    "Event",
    "Events",
    "Explanation",
    "Fetch",
    "Finding",
    "FrameworkFactor",
    "FrameworkFactors",
    "Grant",
    "Handler",
    "Identity",
    "Installation",
    "IssuedProof",
    "KeyRing",
    "Limits",
    "LoginAttempt",
    "LoginExpired",
    "LoginMethod",
    "LoginRejected",
    "LoginRequired",
    "LoginUnfinished",
    "MailError",
    "MailPermanent",
    "MailSettings",
    "MailTemporary",
    "MailTransport",
    "MemoryStateStore",
    "Newcomer",
    "NotFound",
    "OAuth2Provider",
    "OAuthApi",
    "OAuthDenied",
    "OAuthError",
    "OpenIDProvider",
    "Outbox",
    "OutgoingMail",
    "PermissionDenied",
    "PermissionSet",
    "PluginInfo",
    "PluginManifest",
    "Proof",
    "ProviderAnswer",
    "Random",
    "RateLimited",
    "Receipt",
    "RecentLoginRequired",
    "RedactedStruct",
    "RevocationMark",
    "Route",
    "SQLiteStateStore",
    "SealError",
    "SealedRows",
    "SealedValues",
    "Sealer",
    "SecondFactor",
    "SecondFactorRequired",
    "Sender",
    "Session",
    "SessionRecord",
    "SettingError",
    "Settings",
    "SignUpStep",
    "Signer",
    "SignerUnavailable",
    "SmtpTransport",
    "StateOperation",
    "StateResult",
    "StateStore",
    "StoreUnavailable",
    "TokenApi",
    "TokenError",
    "TokenExpired",
    "User",
    "UserDirectory",
    "VerifiedEmail",
    "VerifiedToken",
    "WebRequest",
    "WebResponse",
    "account_key",
    "browser_name",
    "build_message",
    "can",
    "change_email",
    "change_row",
    "check_second_factor",
    "checked_ttl",
    "checked_value",
    "compile_grants",
    "complete_enrolment",
    "complete_login",
    "complete_second_factor",
    "confirmation",
    "count_factor_attempt",
    "current_auth",
    "current_request",
    "digest",
    "encoded_key",
    "end_sessions",
    "enrolling_user",
    "error_text",
    "export_user",
    "find_user",
    "fragment",
    "hookimpl",
    "import_factor",
    "is_email_verified",
    "is_loopback_host",
    "is_loopback_ip",
    "issue_recovery_codes",
    "leave_message",
    "log_in_once",
    "login_page",
    "mark_browser",
    "page",
    "parse_email",
    "recovery_codes_left",
    "remove_factor",
    "remove_user",
    "render",
    "renew_recovery_codes",
    "require",
    "require_login",
    "require_recent_login",
    "reset_factors",
    "restore_email",
    "safe_next",
    "second_factor_required",
    "sessions_of",
    "show_recovery_codes",
    "to_account",
    "user_can",
    "user_explain",
    "waiting_login",
]
