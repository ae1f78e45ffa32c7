"""Answer an error with a page, or with JSON if the client asked for it."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

from ..auth import Auth
from ..engine.bearer import bearer_challenge
from ..engine.urls import safe_next
from ..errors import (
    AuthError,
    LoginError,
    LoginRequired,
    LoginUnfinished,
    MailError,
    PermissionDenied,
    RateLimited,
    RecentLoginRequired,
    SealError,
    TokenError,
)
from ..paths import ACCOUNT_PATH, confirm_path, login_path
from ..web import Route, WebRequest, WebResponse
from .render import PAGE_HEADERS, render

HEADINGS = {
    "credential_rejected": "This link or code is no longer valid",
    "form_expired": "This form has expired",
    "login_expired": "This login is no longer valid",
    "login_rejected": "You cannot log in",
    "login_required": "Please log in",
    "not_found": "Page not found",
    "oauth_email_unverified": "Your email address is not verified",
    "oauth_identity_taken": "This login belongs to another account",
    "oauth_last_login_method": "This is your only login method",
    "oauth_link_required": "You already have an account",
    "oauth_not_configured": "This login method is not available",
    "oauth_state": "This login is no longer valid",
    "permission_denied": "Access denied",
    "rate_limited": "Too many attempts",
    "recent_login_required": "Please log in again",
    "seal": "Your code cannot be checked",
    "seal_broken": "Your code cannot be checked",
    "seal_key_retired": "Your code cannot be checked",
}
"""The page's headline for each error code that has one of its own."""


def problem(auth: Auth, request: WebRequest, error: AuthError, route: Route | None = None) -> WebResponse:
    """The answer to a request that ended in ``error``, on our ``route`` or not."""
    as_json = (route is not None and route.json) or wants_json(request)
    page = None if as_json else _page_to_go_on(request, error)
    if page is not None:
        return WebResponse.see_other(page)
    headers = list(PAGE_HEADERS)
    if isinstance(error, RateLimited):
        headers.append(("Retry-After", str(error.retry_after)))
    if isinstance(error, TokenError):
        headers.append(("WWW-Authenticate", bearer_challenge(error)))
    elif isinstance(error, LoginRequired):
        headers.append(("WWW-Authenticate", bearer_challenge(request.rejected_proof)))
    elif isinstance(error, PermissionDenied) and error.scope is not None:
        headers.append(("WWW-Authenticate", bearer_challenge(scope=error.scope)))
    message = error_text(request, error)
    if isinstance(error, SealError) and not auth.settings.app.debug:
        message = unreadable_text(auth, request)
    elif error.status >= 500 and not auth.settings.app.debug:
        message = request.translate(
            "The email could not be sent. Please try again in a few minutes, or log in another way."
            if isinstance(error, MailError)
            else "The service is temporarily unavailable. Please try again in a minute."
        )
    explanation = error.explanation if isinstance(error, PermissionDenied) and auth.settings.app.debug else ""
    if as_json:
        told = {"error": error.code, "message": message}
        body = json.dumps({**told, "explanation": explanation} if explanation else told)
        return WebResponse(body, error.status, "application/json", tuple(headers))
    shown = render(
        auth,
        request,
        "auth/problem.html",
        status=error.status,
        heading=_heading(request, error),
        message=message,
        explanation=explanation,
        code=error.code,
        login_required=isinstance(error, (LoginRequired, RecentLoginRequired)),
        rate_limited=isinstance(error, RateLimited),
        back=_here(request) if request.method == "GET" else None,
    )
    return WebResponse(shown.body, shown.status, shown.content_type, tuple(headers))


def _heading(request: WebRequest, error: AuthError) -> str:
    if error.code in HEADINGS:
        return request.translate(HEADINGS[error.code])
    if isinstance(error, MailError):
        return request.translate("The email could not be sent")
    if isinstance(error, LoginError):
        return request.translate("Login failed")
    return request.translate("Temporarily unavailable" if error.status == 503 else "Something went wrong")


def _page_to_go_on(request: WebRequest, error: AuthError) -> str | None:
    """The page on which users do what ``error`` asks for; None: show the error."""
    if isinstance(error, LoginUnfinished):
        return error.location
    if "text/html" not in request.headers.get("Accept", "") or "Authorization" in request.headers:
        return None  # a program, which needs the status
    is_form = request.method not in ("GET", "HEAD")
    if isinstance(error, RecentLoginRequired):
        # A form is not sent again: the user starts from its page.
        return confirm_path((_form_page(request) if is_form else _here(request)) or ACCOUNT_PATH)
    if isinstance(error, LoginRequired) and not is_form:
        return login_path(_here(request))
    return None


def _here(request: WebRequest) -> str | None:
    """The page that was asked for, with its query."""
    query = urlencode(request.query)
    return safe_next(quote(request.path) + (f"?{query}" if query else ""))


def _form_page(request: WebRequest) -> str | None:
    """The page of this app on which the form stands, as the browser says."""
    referer = request.headers.get("Referer", "")
    own = f"{request.base_url}/"
    return safe_next(referer[len(own) - 1 :]) if referer.startswith(own) else None


def error_text(request: WebRequest, error: AuthError) -> str:
    """The message of ``error`` in the user's language."""
    return request.translate(error.text, **error.values)


def unreadable_text(auth: Auth, request: WebRequest) -> str:
    """What a user is told if the key is gone that their second factor needs."""
    return request.translate(
        "This app can no longer decrypt what it needs to check this code. Trying again does not help. If you "
        "cannot use another method, such as a recovery code, contact the administrators of {app}.",
        app=auth.settings.app_name,
    )


def wants_json(request: WebRequest) -> bool:
    """True below ``/api``, and for clients that use JSON but not HTML."""
    if request.path == "/api" or request.path.startswith("/api/"):
        return True
    accept = request.headers.get("Accept", "")
    return "text/html" not in accept and ("application/json" in accept or request.sends_json)
