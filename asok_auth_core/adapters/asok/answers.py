"""Turn our pages and errors into Asok's responses."""

from __future__ import annotations

from http import HTTPStatus

from asok.exceptions import SecurityError
from asok.request import Request

from ...errors import AuthError, PermissionDenied
from ...pages.problems import problem
from ...web import WebResponse
from .app_auth import AppAuth, app_auth_of
from .request import path_of


def answer_page(request: Request) -> object:
    """Answer one of our paths, for any HTTP method.

    patches/app.py routes only those here.
    """
    app_auth = app_auth_of(request)
    route = app_auth.router.match(path_of(request)) if app_auth else None
    if app_auth is None:
        return request.abort(404)
    # Asok would derive it from where this file is installed, and show it in the page.
    request.page_id = "asok-auth"
    web = app_auth.web_request(request)
    answer = app_auth.router.missing(web) if route is None else app_auth.router.respond(route, web)
    return send(request, answer)


def answer_error(app_auth: AppAuth, request: Request, error: Exception) -> object | None:
    """Our response to an error that a page raised; None for an error left to Asok."""
    route = app_auth.router.match(path_of(request))
    if isinstance(error, SecurityError) and route is not None:
        error = PermissionDenied(
            "This form has expired. Go back, reload the page, and try again.", code="form_expired"
        )
    if not isinstance(error, AuthError):
        return None
    return send(request, problem(app_auth.auth, app_auth.web_request(request), error, route))


def send(request: Request, response: WebResponse) -> object:
    """Make ``response`` Asok's answer to ``request``."""
    request.status = f"{response.status} {HTTPStatus(response.status).phrase}"
    request.content_type = response.content_type
    request.response_headers.extend(response.headers)
    if not any(name.lower() == "cache-control" for name, _ in response.headers):
        # A cache may store an answer that says nothing about it (RFC 9111, section 4.2.2).
        request.response_headers.append(("Cache-Control", "no-store"))
    _keep_scripts_out(request, response.body)
    return response.body


def _keep_scripts_out(request: Request, body: str | bytes) -> None:
    """Keep Asok from adding scripts and attributes that our pages do not use.

    Asok puts the page file's path into ``<body>``, which would reveal where packages are installed, and
    its component and widget scripts into every page that contains "ws-" or "Asok.": an email address
    such as ``news-desk@app.example`` is enough. An app's own templates keep those they use: their
    attributes are in the page.
    """
    request.page_id = None
    if isinstance(body, bytes):
        return
    if "data-asok-component" not in body:
        request._asok_alive_done = request._asok_security_utils_done = True
    if "asok-" not in body.replace("asok-auth", ""):
        request._asok_widgets_done = True
