"""Changes to Asok's ``Request``, made once for the whole process.

Each looks for the app's :class:`~..app_auth.AppAuth` and does what Asok does if there is none.
"""

from __future__ import annotations

from typing import cast

from asok.request import Request

from ....contracts import LoginMethod
from ....engine.email_address import same_account
from ....engine.urls import safe_next
from ....errors import AuthError, PermissionDenied
from ....flows.login import complete_login, log_out
from ....flows.plugin_faults import verdict
from ....types import Proof, User
from ....web import WebRequest
from ..app_auth import AppAuth, app_auth_of
from ..asok_names import original
from ..request import ASOK_LOGIN, ASOK_LOGOUT
from ..request_auth import RequestAuth
from .models import install_on_class

_ASOK_AUTH = original(Request, "auth")
_ASOK_USER = original(Request, "user")
_ASOK_HAS_ROLE = original(Request, "has_role")
_ASOK_VERIFY_CSRF = original(Request, "verify_csrf")
_ASOK_REDIRECT = original(Request, "redirect")


def install_on_request() -> None:
    """Put our properties and methods on ``Request``. Idempotent."""
    Request.auth = property(_auth)
    Request.user = property(_user, _ASOK_USER.fset)
    Request.query = property(lambda request: request.args)
    Request.login = _login
    Request.logout = _logout
    Request.has_role = _has_role
    Request.verify_csrf = _verify_csrf
    Request.redirect = _redirect


def _auth(request: Request) -> object:
    app_auth = app_auth_of(request)
    return _ASOK_AUTH.fget(request) if app_auth is None else RequestAuth(request, app_auth)


def _user(request: Request) -> User | None:
    app_auth = app_auth_of(request)
    if app_auth is None:
        return cast("User | None", _ASOK_USER.fget(request))
    user = app_auth.current_user(request)
    if user is not None:
        install_on_class(type(user))
    return user


def _login(request: Request, user: User, remember: bool = False, *, next_url: str | None = None) -> None:
    """Log a user in for a page of the app, through the pipeline of every login.

    A user who needs a second factor leaves the page for it. ``next_url``, a path of the app, is where they
    go on afterwards; any other URL, and None, stand for that of the login link, then ``LOGIN_REDIRECT``.
    """
    app_auth = app_auth_of(request)
    if app_auth is None:
        ASOK_LOGIN(request, user, remember=remember)
        return
    auth, web = app_auth.auth, app_auth.web_request(request)
    proof, kept_url = web.take_proof() or (Proof("app"), None)
    if not same_account(proof.email, auth.users.email_of(user)):
        proof = Proof("app")
        _reject_limited_token(web, user)
    complete_login(auth, web, user, proof, remember=remember, next_url=safe_next(next_url) or kept_url)


def _reject_limited_token(web: WebRequest, user: User) -> None:
    """Raise PermissionDenied if only a token proves ``user``: a session allows more."""
    token = web.authentication
    if token is None or str(token.user.id) != str(user.id):
        return
    if token.scopes is not None or token.expires_at is not None:
        raise PermissionDenied("This page needs a login. An API token cannot open it.")


def _logout(request: Request) -> None:
    app_auth = app_auth_of(request)
    if app_auth is None:
        ASOK_LOGOUT(request)
    else:
        log_out(app_auth.auth, app_auth.web_request(request))


def _has_role(request: Request, *roles: str) -> bool:
    """A token with scopes has no role, which stands for more than the scopes."""
    app_auth = app_auth_of(request)
    scopes = None if app_auth is None else app_auth.web_request(request).scopes
    return (scopes is None or "*" in scopes) and bool(_ASOK_HAS_ROLE(request, *roles))


def _verify_csrf(request: Request) -> None:
    app_auth = app_auth_of(request)
    if app_auth is not None and app_auth.is_csrf_exempt(request):
        request._csrf_verified = True
    _ASOK_VERIFY_CSRF(request)


def _redirect(request: Request, url: str, safe: bool = True) -> None:
    """Redirect to another host only if a login method of the app allows this URL."""
    app_auth = app_auth_of(request)
    if app_auth is not None:
        methods = app_auth.auth.login_methods.values()
        safe = safe and not any(_allows_redirect(app_auth, method, url) for method in methods)
    _ASOK_REDIRECT(request, url, safe=safe)


def _allows_redirect(app_auth: AppAuth, method: LoginMethod, url: str) -> bool:
    try:
        return verdict(app_auth.auth, method, method.allows_redirect, url) is True
    except AuthError:
        return False
