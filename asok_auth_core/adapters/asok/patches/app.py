"""Every place where Asok's own behaviour is changed; models and the Admin are in permission_seams.py.

``Request`` is changed once for the whole process; each change looks for the app's extension and
does what Asok does if there is none. The other changes are made to one app object.
"""

from __future__ import annotations

import functools
import hmac
import os
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, cast

from asok import Asok
from asok.exceptions import AbortException, RedirectException, SecurityError
from asok.request import Request

from ....engine.bearer import bearer_challenge
from ....errors import AuthError, PermissionDenied
from ....flows.login import complete_login, log_out
from ....methods.oauth import OAuthMethod
from ....pages.problems import problem
from ....settings import secrets
from ....types import User
from ....web import WebResponse
from ..app_auth import app_auth_of
from ..permissions import template_can
from ..request import ASOK_LOGIN, ASOK_LOGOUT
from ..request_auth import RequestAuth
from ..template_helpers import template_oauth_buttons

if TYPE_CHECKING:
    from ..extension import AuthExtension

PAGE = str(Path(__file__).with_name("page.py"))
CSRF_COOKIE = "asok_csrf="

_ASOK_AUTH = Request.auth
_ASOK_USER = Request.user
_ASOK_VERIFY_CSRF = Request.verify_csrf
_ASOK_REDIRECT = Request.redirect


# -- Request, once for the process ---------------------------------------------------------------


def install_on_request() -> None:
    """Put our properties and methods on Asok's Request. Doing it again changes nothing."""
    Request.auth = property(_auth)
    Request.user = property(_user, _ASOK_USER.fset)
    Request.query = property(lambda request: request.args)
    Request.login = _login
    Request.logout = _logout
    Request.verify_csrf = _verify_csrf
    Request.redirect = _redirect


def _auth(request: Request) -> object:
    extension = app_auth_of(request)
    return _ASOK_AUTH.fget(request) if extension is None else RequestAuth(request, extension)


def _user(request: Request) -> User | None:
    extension = app_auth_of(request)
    if extension is None:
        return _ASOK_USER.fget(request)
    return extension.current_user(request)


def _login(request: Request, user: User, remember: bool = False) -> None:
    """An app's own page logs somebody in: the same pipeline as every other way."""
    extension = app_auth_of(request)
    if extension is None:
        ASOK_LOGIN(request, user, remember=remember)
    else:
        web = extension.web_request(request)
        method = web.verified_by or "app"
        complete_login(extension.auth, web, user, method=method, remember=remember, next_url=web.wanted_url)


def _logout(request: Request) -> None:
    extension = app_auth_of(request)
    if extension is None:
        ASOK_LOGOUT(request)
    else:
        log_out(extension.auth, extension.web_request(request))


def _verify_csrf(request: Request) -> None:
    extension = app_auth_of(request)
    if extension is not None and extension.is_csrf_exempt(request):
        request._csrf_verified = True
    _ASOK_VERIFY_CSRF(request)


def _redirect(request: Request, url: str, safe: bool = True) -> None:
    """To another host only if it is the authorization endpoint of one of the app's providers."""
    extension = app_auth_of(request)
    oauth = None if extension is None else extension.auth.login_methods.get("oauth")
    if isinstance(oauth, OAuthMethod) and oauth.allows_redirect(url):
        safe = False
    _ASOK_REDIRECT(request, url, safe=safe)


# -- one app -------------------------------------------------------------------------------------


def install_on_app(app: Asok, extension: AuthExtension) -> None:
    """Let ``app`` answer our paths, send our cookies and show our errors."""
    _answer_paths(app, extension)
    _allow_form_action(app, extension)
    _send_cookies(app, extension)
    _answer_csrf_failures(app, extension)
    _accept_older_secrets(app)
    _show_errors(app, extension)
    app.share(can=template_can, oauth_buttons=template_oauth_buttons)


def _answer_paths(app: Asok, extension: AuthExtension) -> None:
    """Our exact paths come after the app's own pages, but before its ``[name]`` pages.

    Asok's way for extensions, a folder of pages, is refused where packages lie below /root and
    cannot hold a plugin's paths.
    """
    asok_resolve = app._resolve_route

    def resolve(parts: list[str], request: Request | None = None) -> tuple[str | None, dict[str, str]]:
        page, params = asok_resolve(parts, request=request)
        ours = extension.router.match("/" + "/".join(parts))
        if ours is not None and (page is None or params):
            return PAGE, {}
        return page, params

    app._resolve_route = resolve


def _allow_form_action(app: Asok, extension: AuthExtension) -> None:
    """Let the buttons of providers lead to them: ``form-action`` covers the redirect after a form."""
    csp = app.config.get("CSP", {})
    oauth = extension.auth.login_methods.get("oauth")
    if isinstance(csp, dict) and isinstance(oauth, OAuthMethod) and oauth.enabled:
        own = csp.get("form-action", [])
        own = [own] if isinstance(own, str) else list(own)
        app.config["CSP"] = {**csp, "form-action": [*own, *oauth.origins]}


def _names(request: Request, header: str) -> bool:
    return any(name.lower() == header.lower() for name, _ in request.response_headers)


def _send_cookies(app: Asok, extension: AuthExtension) -> None:
    asok_headers = app._cookie_headers

    def headers(request: Request, environ: dict[str, object]) -> list[tuple[str, str]]:
        ours = cast("list[tuple[str, str]]", environ.get("asok_auth.cookies", []))
        if extension.is_authenticated_without_session(request):
            # A session that nobody logged in to would make the token's next POST ask for CSRF.
            request._session = None
            found = [pair for pair in asok_headers(request, environ) if not pair[1].startswith(CSRF_COOKIE)]
        else:
            found = asok_headers(request, environ)
        found.extend(ours)
        if str(request.status).startswith("401") and not _names(request, "WWW-Authenticate"):
            # RFC 9110, section 15.5.2: a 401 says how to log in; a page's own may leave it out.
            found.append(("WWW-Authenticate", bearer_challenge(extension.web_request(request).proof_error)))
        return found

    app._cookie_headers = headers


def _accept_older_secrets(app: Asok) -> None:
    """What Asok signed itself, session cookies above all, survives a key rotation as our tokens do."""
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
        # Asok's own is the last word, because it logs what nothing signed.
        return cast("str | None", asok_verify(signed))

    app._verify_signature = verify


def _answer_csrf_failures(app: Asok, extension: AuthExtension) -> None:
    asok_answer = app._handle_csrf_failure

    def answer(request: Request) -> object:
        extension.reject_bad_token(request)
        return asok_answer(request)

    app._handle_csrf_failure = answer


def _show_errors(app: Asok, extension: AuthExtension) -> None:
    def shown(asok_handler: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(asok_handler)
        def handle(request: Request, error: Exception) -> object:
            answer = answer_for(extension, request, error)
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
        except Exception as error:
            answer = answer_for(extension, request, error)
            if answer is None:
                raise
            return answer

    app._execute_controller = execute


def answer_for(extension: AuthExtension, request: Request, error: Exception) -> object | None:
    """Our answer to an error that a page raised, or None if it is not ours to answer."""
    if isinstance(error, SecurityError) and extension.router.match(request.path) is not None:
        error = PermissionDenied(
            "This form is too old. Go back, reload the page and try again.", code="form_expired"
        )
    if not isinstance(error, AuthError):
        return None
    return send(request, problem(extension.auth, extension.web_request(request), error))


def answer_page(request: Request) -> object:
    """Answer one of our paths, by any method; `_answer_paths` leads here, through page.py, only for those."""
    extension = app_auth_of(request)
    route = extension.router.match(request.path) if extension else None
    if extension is None or route is None:
        return request.abort(404)
    # Asok would make it from where this file is installed, and show it in the page.
    request.page_id = "asok-auth"
    return send(request, extension.router.respond(route, extension.web_request(request)))


def send(request: Request, response: WebResponse) -> object:
    """Hand ``response`` over to Asok as the answer to ``request``."""
    request.status = f"{response.status} {HTTPStatus(response.status).phrase}"
    request.content_type = response.content_type
    request.response_headers.extend(response.headers)
    _leave_as_it_is(request, response.body)
    return response.body


def _leave_as_it_is(request: Request, body: str) -> None:
    """Keep Asok from adding to our pages what they do not use.

    It puts the page file's path into ``<body>``, which would tell where packages are installed, and
    its component and widget scripts into every page that has "ws-" or "Asok." in it: an address
    such as ``news-desk@app.example`` is enough. A template of the app's own that uses them says so.
    """
    request.page_id = None
    if "data-asok-component" not in body:
        request._asok_alive_done = request._asok_security_utils_done = True
    if "asok-" not in body.replace("asok-auth", ""):
        request._asok_widgets_done = True
