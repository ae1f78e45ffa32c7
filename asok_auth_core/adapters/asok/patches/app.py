"""Changes to one app object: its paths, cookies and errors."""

from __future__ import annotations

import functools
import hmac
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from asok import Asok
from asok.exceptions import AbortException, RedirectException, SecurityError
from asok.request import Request

from ....engine.bearer import bearer_challenge
from ....flows.plugin_faults import at_start
from ....settings import secrets
from ..answers import answer_error, answer_page
from ..app_auth import AppAuth
from ..request import decoded_path, path_of
from ..template_helpers import template_auth_css, template_can, template_oauth_buttons

PAGE = str(Path(__file__).with_name("page.py"))
CSRF_COOKIE = "asok_csrf="


def install_on_app(app: Asok, app_auth: AppAuth) -> None:
    """Make every change to ``app``."""
    _answer_paths(app, app_auth)
    _allow_form_action(app, app_auth)
    _send_cookies(app, app_auth)
    _keep_visitors_out_of_caches(app, app_auth)
    _answer_csrf_failures(app, app_auth)
    _accept_older_secrets(app)
    _show_errors(app, app_auth)
    app.share(auth_css=template_auth_css, can=template_can, oauth_buttons=template_oauth_buttons)


def _answer_paths(app: Asok, app_auth: AppAuth) -> None:
    """Our paths come after the app's own pages, but before its ``[name]`` pages.

    Asok's way for extensions, a folder of pages, is rejected where packages are installed below /root
    and cannot hold a plugin's paths.
    """
    asok_resolve = app._resolve_route

    def resolve(parts: list[str], request: Request | None = None) -> tuple[str | None, dict[str, str]]:
        page, params = asok_resolve(parts, request=request)
        if (page is None or params) and _is_ours(app_auth, parts, request):
            return PAGE, {}
        if page is None and app_auth.router.is_missing(_path(parts, request)):
            return PAGE, {}
        return page, params

    asok_dispatch = app._dispatch_module

    def dispatch(request: Request, module: object, page_file: str) -> object:
        # Asok calls what the page file has under the method's name, which may be __CLASS__.
        return answer_page(request) if page_file == PAGE else asok_dispatch(request, module, page_file)

    app._resolve_route = resolve
    app._dispatch_module = dispatch


def _is_ours(app_auth: AppAuth, parts: list[str], request: Request | None) -> bool:
    return app_auth.router.match(_path(parts, request)) is not None


def _path(parts: list[str], request: Request | None) -> str:
    path = "/" + "/".join(parts)
    return path if request is None else decoded_path(path, request)


def _allow_form_action(app: Asok, app_auth: AppAuth) -> None:
    """Allow forms to redirect to providers: ``form-action`` applies to redirects too."""
    csp = app.config.get("CSP", {})
    origins = [
        origin
        for method in app_auth.auth.login_methods.values()
        for origin in at_start(method, method.form_action_origins)
    ]
    if isinstance(csp, dict) and origins:
        own = csp.get("form-action", [])
        own = [own] if isinstance(own, str) else list(own)
        app.config["CSP"] = {**csp, "form-action": [*own, *origins]}


def _has_header(request: Request, name: str) -> bool:
    return any(given.lower() == name.lower() for given, _ in request.response_headers)


def _send_cookies(app: Asok, app_auth: AppAuth) -> None:
    asok_headers = app._cookie_headers

    def headers(request: Request, environ: dict[str, object]) -> list[tuple[str, str]]:
        ours = cast("list[tuple[str, str]]", environ.get("asok_auth.cookies", []))
        if app_auth.is_authenticated_without_session(request):
            # An empty session would make the token's next POST require a CSRF token.
            request._session = None
            found = [pair for pair in asok_headers(request, environ) if not pair[1].startswith(CSRF_COOKIE)]
        else:
            found = asok_headers(request, environ)
        found.extend(ours)
        if str(request.status).startswith("401") and not _has_header(request, "WWW-Authenticate"):
            # RFC 9110, section 15.5.2: a 401 must have this header; an app's page may omit it.
            found.append(("WWW-Authenticate", bearer_challenge(app_auth.web_request(request).rejected_proof)))
        return found

    app._cookie_headers = headers


def _keep_visitors_out_of_caches(app: Asok, app_auth: AppAuth) -> None:
    """Remove visitors' data from our answers that a shared cache may store.

    Asok adds cookies, a CSRF token and a nonce to every answer; a cache would send one visitor's to everyone.
    """
    asok_finalize = app._finalize_response

    def finalize(
        request: Request,
        content: object,
        environ: dict[str, object],
        is_head: bool,
        start_response: Callable[[str, list[tuple[str, str]]], object],
    ) -> object:
        ours = app_auth.router.match(path_of(request)) is not None
        if not ours or not isinstance(content, (str, bytes)):
            return asok_finalize(request, content, environ, is_head, start_response)
        body = content if isinstance(content, bytes) else content.encode()
        length = ("Content-Length", str(len(body)))
        if not _may_be_shared(request.response_headers):
            if isinstance(content, str):
                return asok_finalize(request, content, environ, is_head, start_response)
            # Asok would send the bytes without security headers and without those of the answer.
            start_response(request.status, [*app._base_response_headers(request, environ), length])
            return [b"" if is_head else body]
        own = [
            (name, value)
            for name, value in request.response_headers
            if name.lower() not in ("set-cookie", "x-csrf-token")
        ]
        fixed = [("Content-Type", str(request.content_type)), length]
        if app.config.get("CORS_ORIGINS") == "*":
            # Asok's other CORS headers repeat the visitor's Origin.
            fixed.append(("Access-Control-Allow-Origin", "*"))
        start_response(request.status, [*fixed, *own, *app._security_headers(request)])
        return [b"" if is_head else body]

    app._finalize_response = finalize


def _may_be_shared(headers: Iterable[tuple[str, str]]) -> bool:
    """True if a shared cache may store an answer with these headers.

    RFC 9111, section 3. Our answers without Cache-Control are not stored: see answers.send.
    """
    given = {
        directive.partition("=")[0].strip().lower()
        for name, value in headers
        if name.lower() == "cache-control"
        for directive in value.split(",")
    }
    if given & {"public", "s-maxage"}:
        return True
    return "max-age" in given and not given & {"private", "no-store"}


def _accept_older_secrets(app: Asok) -> None:
    """Keep what Asok signed, such as session cookies, valid across key rotations."""
    older = secrets(app.config, os.environ, debug=True)[1:]
    if not older:
        return
    asok_verify = app._verify_signature

    def verify(signed: str) -> str | None:
        value, _, mac = signed.rpartition(".")
        if not hmac.compare_digest(app._sign(value).encode(), signed.encode()):
            for key in older:
                if hmac.compare_digest(
                    hmac.digest(key, value.encode(), "sha256").hex().encode(), mac.encode()
                ):
                    return value
        # Asok's check is last, because it logs a warning if it fails.
        return cast("str | None", asok_verify(signed))

    app._verify_signature = verify


def _answer_csrf_failures(app: Asok, app_auth: AppAuth) -> None:
    asok_answer = app._handle_csrf_failure

    def answer(request: Request) -> object:
        app_auth.reject_bad_token(request)
        asok_body = asok_answer(request)
        if app_auth.router.match(path_of(request)) is not None:
            # Asok has answered a path below /api itself: our routes have one form for every error.
            raise SecurityError("CSRF validation failed.")
        return asok_body

    app._handle_csrf_failure = answer


def _show_errors(app: Asok, app_auth: AppAuth) -> None:
    def shown(asok_handler: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(asok_handler)
        def handle(request: Request, error: Exception) -> object:
            answer = answer_error(app_auth, request, error)
            return asok_handler(request, error) if answer is None else answer

        return handle

    app._handle_dispatch_exception = shown(app._handle_dispatch_exception)
    app._admin_exception_response = shown(app._admin_exception_response)
    asok_execute = app._execute_controller

    async def execute(request: Request, environ: dict[str, object]) -> object:
        """Asok 0.8 answers 500 to a redirect, an abort or an error of a page under ASGI."""
        try:
            return await asok_execute(request, environ)
        except RedirectException as redirect:
            raise app._build_final_redirect(request, environ, redirect) from None
        except AbortException as abort:
            return app._abort_to_error_page(request, abort)
        except SecurityError as error:
            return app._handle_dispatch_exception(request, error)
        except Exception as error:
            answer = answer_error(app_auth, request, error)
            if answer is None:
                raise
            return answer

    app._execute_controller = execute
