"""``app.register_extension(AuthExtension())``: authentication for one Asok app."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from collections.abc import Sequence
from pathlib import Path

from asok import Asok
from asok.core.extension import AsokExtension

from ...auth import Auth
from ...contracts import CredentialStore
from ...errors import ConfigurationError, StoreUnavailable
from ...startup import start
from ...types import Clock, Random
from . import roles
from .account_changes import watch_users
from .app_auth import AppAuth, app_auth_on, put_app_auth
from .asok_names import check_asok
from .credentials import AsokCredentialStore
from .patches.admin import install_on_admin
from .patches.admin_totp import install_on_admin_totp
from .patches.app import install_on_app
from .patches.builtin_auth import install_on_builtin_auth
from .patches.models import install_on_class, install_on_models
from .patches.request import install_on_request
from .patches.sessions import install_on_session_screens, install_on_sessions
from .patches.transactions import install_on_engines
from .patches.websocket import install_on_websockets
from .users import AsokUsers

logger = logging.getLogger("asok_auth")


class AuthExtension(AsokExtension):
    """Authentication for one app, with the installed plugins and ``plugins``.

    Settings come from ``app.config["AUTH"]`` and ``ASOK_AUTH_*``. Registering raises
    :class:`~asok_auth_core.errors.ConfigurationError`, whose message says what to do.
    """

    auth: Auth
    app_auth: AppAuth

    def __init__(self, app: Asok | None = None, *, plugins: Sequence[object] = ()) -> None:
        self._plugins = tuple(plugins)
        super().__init__(app)

    def init_app(self, app: Asok) -> None:
        """Called by ``app.register_extension``."""
        other = app_auth_on(app)
        if other is not None:
            if other is getattr(self, "app_auth", None):
                return
            raise ConfigurationError(
                "Two AuthExtensions are registered with one app. Keep one, with all plugins in it."
            )
        users = AsokUsers(app)
        check_asok(app, users.model)
        users.check_required_fields()

        stores: list[AsokCredentialStore] = []

        def credentials(clock: Clock, random: Random) -> CredentialStore:
            stores.append(AsokCredentialStore(users, clock, random))
            return _prepared(stores[0], users, random)

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
        self.app_auth = AppAuth(self.auth)
        self.app_auth.router.check_enrol_paths(lambda path: _has_page(app, path))
        self.auth.find_request = self.app_auth.find_request
        self.auth.translator = lambda language, message, values: self.app_auth.catalogs.translate(
            message, language, values, app.locales.get(language)
        )
        app.extensions[type(self).__name__] = self
        put_app_auth(app, self.app_auth)
        install_on_request()
        install_on_builtin_auth()
        install_on_admin()
        install_on_admin_totp()
        install_on_session_screens()
        install_on_websockets()
        install_on_engines()
        install_on_models()
        watch_users()
        install_on_class(users.model)
        install_on_app(app, self.app_auth)
        install_on_sessions(app, self.app_auth)
        app.on_shutdown(self.close)
        _open.add(self)
        with stores[0].at_start_up():  # a plugin may create its table
            self.auth.plugins.start(self.auth)

    def close(self) -> None:
        """Stop plugins, send the emails that are still queued and close connections."""
        _open.discard(self)
        self.auth.plugins.stop(self.auth)
        self.auth.outbox.close()
        self.auth.state.close()


_open: weakref.WeakSet[AuthExtension] = weakref.WeakSet()


def _at_exit() -> None:
    for extension in tuple(_open):
        extension.close()


# A WSGI server never calls the app's shutdown.
atexit.register(_at_exit)


def _has_page(app: Asok, path: str) -> bool:
    """True if the app itself has a page for ``path``."""
    return app._resolve_route(path.strip("/").split("/"))[0] is not None


def _prepared(store: AsokCredentialStore, users: AsokUsers, random: Random) -> AsokCredentialStore:
    """``store`` with its table, id and index, made now or on first use."""
    try:
        with store.at_start_up() as possible:
            if possible:
                store.create_schema(attempts=1)
                store.installation(users, random)
                users.create_index()
    except StoreUnavailable as error:
        logger.warning("%s The first login tries again.", error)
    return store


__all__ = ["AuthExtension"]
