"""The authentication of one Asok app, and the current user of each request."""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from pathlib import Path

from asok import Asok
from asok.context import request_var
from asok.orm import MODELS_REGISTRY
from asok.request import Request

from ...auth import Auth
from ...errors import AuthError, ConfigurationError
from ...flows.authentication import authenticate, needs_no_csrf_token
from ...flows.sessions import find_session, session_cookie
from ...pages.locales import Catalogs
from ...pages.router import Router
from ...types import User
from .impersonation import impersonated_by
from .request import IMPERSONATOR_KEY, STARTED_KEY, AsokWebRequest, Current, path_of

_ATTRIBUTE = "_asok_auth"
_WEB_REQUEST = "asok_auth.request"


class AppAuth:
    """What the patches, decorators and template helpers of one app work with."""

    def __init__(self, auth: Auth) -> None:
        self.auth = auth
        self.router = Router(auth)
        self.catalogs = Catalogs(["asok_auth_core.pages", *auth.packages])

    def web_request(self, request: Request) -> AsokWebRequest:
        """``request`` as pages and flows see it; the same object each time."""
        web = request.environ.get(_WEB_REQUEST)
        if not isinstance(web, AsokWebRequest):
            web = request.environ[_WEB_REQUEST] = AsokWebRequest(request, self.auth, self.catalogs)
        return web

    def find_request(self) -> AsokWebRequest | None:
        """The request of this app that the calling thread handles, or None."""
        request = request_var.get(None)
        return None if request is None or app_auth_of(request) is not self else self.web_request(request)

    def current_user(self, request: Request) -> User | None:
        """The fully logged-in user: by a proof in the request, else by the session."""
        if not request._auth_resolved:
            # First, so that a hook that asks for the current user during this lookup gets None.
            request._user_instance, request._auth_resolved = None, True
            web = self.web_request(request)
            web.current = self._find_user(web)
            request._user_instance = web.current.user
            _mirror(request, web.current)
        return request._user_instance

    def current(self, request: Request) -> Current:
        """The current user of ``request``, and how they were authenticated."""
        self.current_user(request)
        return self.web_request(request).current or Current()

    def is_csrf_exempt(self, request: Request) -> bool:
        """True if the request needs no CSRF check.

        No browser would send its proof by itself. That holds for a request with a bearer token and no
        session, and for a route with ``csrf`` False.
        """
        if not self._checks_csrf(path_of(request)):
            return True
        return self.current_user(request) is not None and self.is_authenticated_without_session(request)

    def is_authenticated_without_session(self, request: Request) -> bool:
        """True if a proof that is not ambient authenticated the user, without a session."""
        web = self.web_request(request)
        authentication = None if web.current is None else web.current.authentication
        return (
            needs_no_csrf_token(authentication)
            and not self._has_session(request)
            and (request._session is None or "user_id" not in request._session)
        )

    def reject_bad_token(self, request: Request) -> None:
        """Raise the error of a rejected bearer token, if the request has no session.

        Otherwise the response would be about the CSRF token, which such a request does not need.
        """
        if not self._has_session(request) and self.current_user(request) is None:
            error = self.web_request(request).rejected_proof
            if error is not None:
                raise error

    def _find_user(self, web: AsokWebRequest) -> Current:
        """Find the user for pages, the Admin, and a socket's handshake and messages."""
        try:
            proved = authenticate(self.auth, web)
        except AuthError as error:
            return Current(error=error)
        # Without a CSRF check, credentials that browsers send by themselves authenticate no user.
        ambient = web.method in ("GET", "HEAD", "OPTIONS", "TRACE") or self._checks_csrf(web.path)
        if proved is not None and (ambient or needs_no_csrf_token(proved)):
            active = self.auth.users.is_active(proved.user)
            return Current(proved.user, authentication=proved) if active else Current()
        if not ambient:
            return Current()
        handle = web.cookies.get(session_cookie(secure=web.secure))
        found = find_session(self.auth, handle, is_use=web.is_use) if handle else None
        if found is None:
            return Current()
        record, owner = found
        target = impersonated_by(self.auth, record, owner)
        return Current(owner, record) if target is None else Current(target, record, impersonator=owner)

    def _checks_csrf(self, path: str) -> bool:
        """False only on one of our routes with ``csrf`` False."""
        route = self.router.match(path)
        return route is None or route.csrf

    def _has_session(self, request: Request) -> bool:
        name = session_cookie(secure=self.web_request(request).secure)
        cookies = request.cookies_dict
        return name in cookies or "asok_sid" in cookies or "asok_session" in cookies


def _mirror(request: Request, current: Current) -> None:
    """Copy the session record's user to Asok's session, for the Admin and messages."""
    record, impersonator = current.record, current.impersonator
    if record is None and (current.authentication or current.error or "asok_sid" not in request.cookies_dict):
        return
    values = {
        "user_id": None if current.user is None else current.user.id,
        IMPERSONATOR_KEY: None if impersonator is None else impersonator.id,
        STARTED_KEY: None if record is None or impersonator is None else record.impersonates_since,
    }
    for name, value in values.items():
        if value is None and name in request.session:
            request.session.pop(name)
        elif value is not None and request.session.get(name) != value:
            request.session[name] = value


# -- finding it ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """One app of this process, and how to recognize its users."""

    app_auth: weakref.ref[AppAuth]
    root: Path
    model_name: str
    model: type | None
    """The user model when the extension was registered. A page's import may replace it by a new class."""


_known: list[_Known] = []


def put_app_auth(app: Asok, app_auth: AppAuth) -> None:
    """Store ``app_auth`` on its app, where the functions below find it."""
    setattr(app, _ATTRIBUTE, app_auth)
    name = str(app.config.get("AUTH_MODEL") or "User")
    known = _Known(weakref.ref(app_auth), Path(app.root_dir).resolve(), name, MODELS_REGISTRY.get(name))
    _known[:] = [*(other for other in _known if other.app_auth() is not None), known]


def app_auth_on(app: object) -> AppAuth | None:
    """The authentication of ``app``; None without an app or without the extension."""
    return getattr(app, _ATTRIBUTE, None)


def app_auth_of(request: Request) -> AppAuth | None:
    """The authentication of the app that handles ``request``, or None."""
    return getattr(request.environ.get("asok.app"), _ATTRIBUTE, None)


def app_auth_of_user(user: User) -> AppAuth | None:
    """The app that ``user`` belongs to, outside of requests; None without any.

    Such code is a job or a shell. With several apps in the process, it is the one that loaded the user's
    class, else the only one whose user model has that name. Raises ConfigurationError if that leaves several.
    """
    apps = [known for known in _known if known.app_auth() is not None]
    if len(apps) > 1:
        kind, file = type(user), _file_of(type(user))
        apps = (
            [known for known in apps if known.model is kind]
            or [known for known in apps if file is not None and file.is_relative_to(known.root)]
            or [known for known in apps if known.model_name == kind.__name__]
        )
        if len(apps) != 1:
            raise ConfigurationError(
                f"Several apps of this process may have the user model {kind.__name__}, so it cannot be "
                "decided which of them this user belongs to. Name their user models differently, or run one "
                "app per process."
            )
    return apps[0].app_auth() if apps else None


def auth_of_account(instance: User) -> Auth | None:
    """The authentication of the app with this account; None if it is no account.

    Raises ConfigurationError as :func:`app_auth_of_user` does.
    """
    if not any(known.model_name == type(instance).__name__ for known in _known):
        return None
    request = request_var.get(None)
    app_auth = app_auth_of_user(instance) if request is None else app_auth_of(request)
    return None if app_auth is None else app_auth.auth


def _file_of(kind: type) -> Path | None:
    """The file of the module that defined ``kind``, if it is imported now."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and getattr(module, kind.__name__, None) is kind else None
