"""Paths of the core's pages. A plugin's pages are below ``/auth/<name>/``."""

from __future__ import annotations

from urllib.parse import quote

PREFIX = "/auth"
"""All of our pages are below it; by itself, it leads to the account or to the login page."""
LOGIN_PATH = "/auth/login"
"""The login page."""
FRAMEWORK_LOGIN_PATH = "/login"
"""Where Asok's own ``require_auth()`` leads; it leads on to the login page."""
LOGOUT_PATH = "/auth/logout"
SECOND_FACTOR_PATH = "/auth/second-factor"
CHALLENGE_AGAIN_PATH = "/auth/second-factor/again"
ENROL_PATH = "/auth/second-factor/enrol"
ACCOUNT_PATH = "/auth/account"
"""The account page of the current user."""
CONFIRM_PATH = "/auth/confirm"
"""Where users confirm that it's them; ``next`` is the page to go back to."""
CONFIRM_AGAIN_PATH = "/auth/confirm/again"
RECOVERY_CODES_PATH = "/auth/recovery/codes"
END_SESSION_PATH = "/auth/session/end"
END_SESSIONS_PATH = "/auth/sessions/end"
FORGET_BROWSERS_PATH = "/auth/trusted-devices/forget"
SIGN_UP_PATH = "/auth/sign-up"
"""Where newcomers take the steps that plugins ask for before their account exists."""
PROVIDER_EMAIL_PATH = "/auth/provider/email"
PROVIDER_CODE_PATH = "/auth/provider/code"
UNLINK_PATH = "/auth/oauth/unlink"
NEW_TOKEN_PATH = "/auth/token/new"  # noqa: S105 - a path
REVOKE_TOKEN_PATH = "/auth/token/revoke"  # noqa: S105 - a path
SUPPORT_PATH = "/auth/support"
"""Where support staff look a user up; below it, a page for each user."""
JWKS_PATH = "/.well-known/jwks.json"


def login_path(next_url: str | None = None) -> str:
    """The login page that leads to ``next_url``."""
    return LOGIN_PATH if next_url is None else f"{LOGIN_PATH}?next={quote(next_url)}"


def confirm_path(next_url: str) -> str:
    """The page on which users confirm it's them before they go on to ``next_url``."""
    return f"{CONFIRM_PATH}?next={quote(next_url)}"


def provider_login_path(provider: str) -> str:
    """The page that starts a login with the provider of this name."""
    return f"/auth/{provider}/login"


def provider_link_path(provider: str) -> str:
    """The page that starts linking this provider to the current user's account."""
    return f"/auth/{provider}/link"


def provider_callback_path(provider: str) -> str:
    """Where this provider sends users back to: the path of the redirect URI."""
    return f"/auth/{provider}/callback"
