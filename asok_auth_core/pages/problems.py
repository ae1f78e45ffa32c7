"""An error as an answer: a page that says what to do, or JSON where a program asked."""

from __future__ import annotations

import json

from ..auth import Auth
from ..engine.bearer import bearer_challenge
from ..errors import (
    AuthError,
    LoginRequired,
    MailError,
    PermissionDenied,
    RateLimited,
    RecentLoginRequired,
    SecondFactorRequired,
    TokenError,
)
from ..paths import ACCOUNT_PATH
from ..web import WebRequest, WebResponse
from .render import PAGE_HEADERS, render


def problem(auth: Auth, request: WebRequest, error: AuthError) -> WebResponse:
    """The answer to a request that ended in ``error``."""
    if isinstance(error, SecondFactorRequired) and not wants_json(request):
        return WebResponse.see_other(error.location)
    headers = list(PAGE_HEADERS)
    if isinstance(error, RateLimited):
        headers.append(("Retry-After", str(error.retry_after)))
    if isinstance(error, TokenError):
        headers.append(("WWW-Authenticate", bearer_challenge(error)))
    elif isinstance(error, LoginRequired):
        headers.append(("WWW-Authenticate", bearer_challenge(request.proof_error)))
    elif isinstance(error, PermissionDenied) and error.scope is not None:
        headers.append(("WWW-Authenticate", bearer_challenge(scope=error.scope)))
    message = error_text(request, error)
    if error.status >= 500 and not auth.settings.app.debug:
        message = request.translate(
            "No mail could be sent. Please try again in a few minutes, or log in another way."
            if isinstance(error, MailError)
            else "This is not possible just now. Please try again in a minute."
        )
    explanation = error.explanation if isinstance(error, PermissionDenied) and auth.settings.app.debug else ""
    if wants_json(request):
        told = {"error": message, "code": error.code, "status": error.status}
        body = json.dumps({**told, "explanation": explanation} if explanation else told)
        return WebResponse(body, error.status, "application/json", tuple(headers))
    page = render(
        auth,
        request,
        "auth/problem.html",
        status=error.status,
        message=message,
        explanation=explanation,
        code=error.code,
        login_required=isinstance(error, (LoginRequired, RecentLoginRequired)),
        back=_back(request, error),
    )
    return WebResponse(page.body, page.status, page.content_type, tuple(headers))


def _back(request: WebRequest, error: AuthError) -> str | None:
    """Where to go on after logging in; a form has to be sent again by the person, from its page."""
    if request.method == "GET":
        return request.path
    return ACCOUNT_PATH if isinstance(error, RecentLoginRequired) else None


def error_text(request: WebRequest, error: AuthError) -> str:
    """What ``error`` says, in the person's language."""
    return request.translate(error.text, **error.values)


def wants_json(request: WebRequest) -> bool:
    """True for paths below ``/api`` and for clients that accept JSON but not HTML."""
    if request.path == "/api" or request.path.startswith("/api/"):
        return True
    accept = request.headers.get("Accept", "")
    return "application/json" in accept and "text/html" not in accept
