"""``app.register_extension(AuthExtension())``: authentication for one Asok app."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from asok import Asok
from asok.core.extension import AsokExtension
from asok.request import Request

from ...auth import Auth
from ...contracts import CredentialStore
from ...errors import AuthError, ConfigurationError, StoreUnavailable
from ...flows.login import LOGIN_KEY
from ...flows.sessions import is_ended, lacks_factor
from ...pages.locales import Catalogs
from ...pages.router import Router
from ...startup import start
from ...stores.credentials import SqlCredentialStore
from ...types import Clock, Random, User
from . import roles
from .app_auth import ATTRIBUTE, IMPERSONATOR_KEY, remember
from .patches.app import install_on_app, install_on_request
from .patches.models import install_on_class, install_on_models
from .request import AsokWebRequest
from .users import AsokUsers, UsersEngine

logger = logging.getLogger("asok_auth")

_WEB_REQUEST = "asok_auth.request"
_USER_PROVED = "asok_auth.proved_by_request"


class AuthExtension(AsokExtension):
    """Put the installed plugins, and ``plugins`` given here, to work in one app.

    Settings come from ``app.config["AUTH"]`` and ``ASOK_AUTH_*``. Registering raises
    :class:`~asok_auth_core.errors.ConfigurationError` with what to do if something is wrong.
    """

    auth: Auth
    router: Router
    catalogs: Catalogs

    def __init__(self, app: Asok | None = None, *, plugins: Sequence[object] = ()) -> None:
        self._plugins = tuple(plugins)
        super().__init__(app)

    def init_app(self, app: Asok) -> None:
        """Called by ``app.register_extension``."""
        other = getattr(app, ATTRIBUTE, None)
        if other is self:
            return
        if other is not None:
            raise ConfigurationError(
                "Two AuthExtensions are registered with one app. Keep one, with all plugins in it."
            )
        users = AsokUsers(app)
        _ = users.model  # an app without a user model is told so now, not at its first login

        def credentials(clock: Clock, random: Random) -> CredentialStore:
            return _with_table(UsersEngine(users), clock, random)

        self.app = app
        self.auth = start(
            app.config,
            os.environ,
            root=Path(app.root_dir),
            users=users,
            credentials=credentials,
            plugins=self._plugins,
            roles=roles,
        )
        self.catalogs = Catalogs(["asok_auth_core.pages", *self.auth.packages])
        self.router = Router(self.auth)
        app.extensions[type(self).__name__] = self
        setattr(app, ATTRIBUTE, self)
        remember(self)
        install_on_request()
        install_on_models()
        install_on_class(users.model)
        install_on_app(app, self)
        app.on_shutdown(self.close)

    def close(self) -> None:
        """Send what mail is still waiting and give back connections."""
        self.auth.outbox.close()
        self.auth.state.close()

    def web_request(self, request: Request) -> AsokWebRequest:
        """``request`` as pages and flows see it; one for each request."""
        web = request.environ.get(_WEB_REQUEST)
        if not isinstance(web, AsokWebRequest):
            web = request.environ[_WEB_REQUEST] = AsokWebRequest(request, self)
        return web

    def current_user(self, request: Request) -> User | None:
        """Who is fully logged in: by the request itself (a bearer token), else by its session."""
        if not request._auth_resolved:
            # First, so that a hook that asks for the user while it is looked up gets None.
            request._user_instance, request._auth_resolved = None, True
            request._user_instance = self._look_up(request)
        if request._user_instance is not None:
            install_on_class(type(request._user_instance))
        return request._user_instance

    def is_csrf_exempt(self, request: Request) -> bool:
        """True if no cookie could have made a browser send this: CSRF is for cookies.

        That is a request proved by itself that carries no session, or a route that says so.
        """
        route = self.router.match(request.path)
        if route is not None and not route.csrf:
            return True
        return self.current_user(request) is not None and self.is_authenticated_without_session(request)

    def is_authenticated_without_session(self, request: Request) -> bool:
        """True if a token said who this is, no session came along, and none was logged in to since."""
        return (
            bool(request.environ.get(_USER_PROVED))
            and not self._has_session(request)
            and (request._session is None or "user_id" not in request._session)
        )

    def reject_bad_token(self, request: Request) -> None:
        """Raise what is wrong with the bearer token, for a request that has nothing else.

        Otherwise its answer would speak of the CSRF token, which it does not need.
        """
        if not self._has_session(request) and self.current_user(request) is None:
            error = self.web_request(request).proof_error
            if error is not None:
                raise error

    @staticmethod
    def _has_session(request: Request) -> bool:
        cookies = request.cookies_dict
        return "asok_sid" in cookies or "asok_session" in cookies

    @staticmethod
    def _was_logged_in(request: Request, user_id: str) -> bool:
        """True if the login pipeline gave this session to this very user, or to the one who lends it."""
        record = request.session.get(LOGIN_KEY)
        lender = request.session.get(IMPERSONATOR_KEY, user_id)
        return isinstance(record, dict) and record.get("user") in (user_id, str(lender))

    def _look_up(self, request: Request) -> User | None:
        web = self.web_request(request)
        for method in self.auth.login_methods.values():
            try:
                user = method.authenticate(web)
            except AuthError as error:
                web.proof_error = error
                return None
            if user is not None:
                request.environ[_USER_PROVED] = method.name
                return user if self.auth.users.is_active(user) else None
        return self.session_user(request)

    def session_user(self, request: Request) -> User | None:
        """Who the session of ``request`` speaks for, if it is in force."""
        user_id = request.session.get("user_id")
        if user_id is None or not self._was_logged_in(request, str(user_id)):
            return None
        session = self.web_request(request).session
        if is_ended(self.auth, session):
            return None
        user = self.auth.users.by_id(str(user_id))
        if user is None or not self.auth.users.is_active(user):
            return None
        return None if lacks_factor(self.auth, session, user) else user


def _with_table(engine: UsersEngine, clock: Clock, random: Random) -> SqlCredentialStore:
    """The store, with its table if the database answers now; else its first use makes it."""
    store = SqlCredentialStore(engine, clock=clock, random=random)
    try:
        with engine.at_start_up() as possible:
            if possible:
                store.create_schema(attempts=1)
    except StoreUnavailable as error:
        logger.warning("%s The first login tries again.", error)
    return store


__all__ = ["AuthExtension"]
