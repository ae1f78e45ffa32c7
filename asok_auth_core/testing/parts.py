"""Build an in-memory ``Auth``, started as by an app, and a browser for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from ..auth import Auth
from ..contracts import CredentialStore, MailTransport, StateStore, UserDirectory
from ..flows.current_request import handling
from ..flows.login import complete_login
from ..hookspecs import hookimpl
from ..pages.router import Router
from ..startup import start
from ..stores.memory import MemoryStateStore
from ..types import JSON, Clock, Event, OutgoingMail, Proof, User
from ..web import WebResponse
from .fakes import FakeRequest, FrozenClock, MemoryCredentialStore, MemoryUsers

SECRET_KEY = "2b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfe"  # noqa: S105 - for tests


class RecordedMail(MailTransport):
    """Keeps mails instead of sending them."""

    def __init__(self) -> None:
        self.sent: list[OutgoingMail] = []

    def send(self, mail: OutgoingMail) -> None:
        self.sent.append(mail)


class TestParts:
    """A plugin with a state store and a transport in memory that records events.

    ``mail.sent`` is a list of :class:`~asok_auth_core.types.OutgoingMail`, complete after
    ``auth.outbox.flush(5)``; ``events`` one of :class:`~asok_auth_core.types.Event`; ``state`` the state
    store, ``clock`` the clock.
    """

    __test__ = False
    __name__ = "asok_auth_core.testing"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.mail = RecordedMail()
        self.events: list[Event] = []
        self.state = MemoryStateStore(clock=clock)

    @hookimpl
    def asok_auth_state_stores(self) -> Mapping[str, Callable[[str], StateStore]]:
        return {"test": lambda url: self.state}

    @hookimpl
    def asok_auth_mail_transports(self) -> Mapping[str, Callable[[], MailTransport]]:
        return {"test": lambda: self.mail}

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


def build_auth(
    root: Path,
    *,
    plugins: Sequence[object] = (),
    settings: Mapping[str, object] | None = None,
    config: Mapping[str, object] | None = None,
    users: UserDirectory | None = None,
    credentials: CredentialStore | None = None,
    clock: Clock | None = None,
    parts: TestParts | None = None,
    entry_points: Iterable[metadata.EntryPoint] = (),
) -> Auth:
    """Start an Auth with ``plugins``, by default without installed ones.

    ``settings`` is ``AUTH``, ``config`` the rest of the app's configuration, such as ``SECRET_KEY``.
    Several calls with the same ``users``, ``credentials`` and ``parts`` are workers of one app.
    A broken plugin raises ConfigurationError. When done, call ``auth.plugins.stop(auth)`` and close
    ``auth.outbox`` and ``auth.state``.
    """
    clock = clock or FrozenClock()
    parts = parts or TestParts(clock)
    store = MemoryCredentialStore(clock) if credentials is None else credentials
    auth = start(
        {
            "SECRET_KEY": SECRET_KEY,
            "APP_URL": "https://app.example",
            **(config or {}),
            "AUTH": {"STATE_STORE": "test:", "MAIL_TRANSPORT": "test", "STRICT": True, **(settings or {})},
        },
        {},
        root=root,
        users=MemoryUsers() if users is None else users,
        credentials=lambda clock, random: store,
        plugins=(parts, *plugins),
        entry_points=entry_points,
        clock=clock,
    )
    auth.plugins.start(auth)
    return auth


class Browser:
    """A browser that keeps its cookies and session from page to page of one app.

    ``request`` is its last request, a :class:`~asok_auth_core.testing.fakes.FakeRequest`: ``request.user`` is
    the user who is logged in now, ``request.session_record`` their session.
    """

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._router = Router(auth)
        self.request = FakeRequest("/", auth=auth)

    @property
    def paths(self) -> Iterable[str]:
        """The paths of all authentication pages."""
        return self._router.paths

    def log_in(self, user: User) -> None:
        """Log ``user`` in. Raises SecondFactorRequired if the user has one."""
        with handling(self._auth, self.request):
            complete_login(self._auth, self.request, user, Proof("app"))

    def get(self, url: str, *, method: str = "GET") -> WebResponse:
        """Request ``url`` and return the response."""
        return self._send(self.request.follow(url, method=method))

    def post(self, url: str, form: Mapping[str, str] | None = None) -> WebResponse:
        """Submit ``form`` to ``url`` and return the response."""
        return self._send(self.request.follow(url, method="POST", form=form or {}))

    def send(
        self, method: str, url: str, *, json: JSON = None, headers: Mapping[str, str] | None = None
    ) -> WebResponse:
        """Send a request with any method and ``json``; return the response."""
        return self._send(self.request.follow(url, method=method, json=json, headers=headers))

    def repeat(self, request: FakeRequest) -> WebResponse:
        """Send ``request``, made with ``browser.request.follow``; return the response."""
        return self._send(request)

    def _send(self, request: FakeRequest) -> WebResponse:
        self.request = request
        route = self._router.match(request.path)
        if route is None:
            return WebResponse("Not found", 404, "text/plain; charset=utf-8")
        return self._router.respond(route, request)
