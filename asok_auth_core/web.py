"""What pages and flows need of a web framework; an adapter provides it.

Nothing here imports a framework. ``WebRequest`` and ``Session`` are implemented by the adapter
(and by :mod:`asok_auth_core.testing`); plugins only use them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from .errors import AuthError
from .types import JSON, User


@dataclass(frozen=True, slots=True)
class Device:
    """A session of the same user in another browser."""

    client_ip: str
    """Its IP address when it was last seen; empty if unknown."""
    user_agent: str
    started: float
    last_seen: float
    """Seconds since the epoch."""


class Session(ABC):
    """The browser's session, kept on the server by the framework."""

    @abstractmethod
    def get(self, key: str) -> JSON:
        """The value under ``key``, or None."""

    @abstractmethod
    def set(self, key: str, value: JSON) -> None:
        """Keep ``value`` under ``key``."""

    @abstractmethod
    def pop(self, key: str) -> JSON:
        """Remove ``key``; its value, or None."""

    @abstractmethod
    def begin(self, user: User, *, remember: bool = False) -> None:
        """Log ``user`` in: a new session id, a new CSRF token. Only the login pipeline calls it."""

    @abstractmethod
    def end(self) -> None:
        """Log out: the session is gone on the server too."""

    def other_sessions(self) -> Sequence[Device]:
        """The same user's other sessions, last seen first, if the framework can list them."""
        return ()

    def end_other_sessions(self) -> None:
        """Delete those sessions. They are void without it (:mod:`.flows.sessions`); this tidies up."""
        return


class WebRequest(ABC):
    """One HTTP request as pages, flows and plugins see it."""

    method: str
    """``GET``, ``HEAD``, ``POST`` …, as sent (HEAD is not turned into GET)."""
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    """Fields of the request's body only; never of the query string."""
    cookies: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in Title-Case."""
    client_ip: str
    """The client's IP address, through trusted proxies only; empty if unknown."""
    base_url: str
    """``https://app.example``, without a trailing slash. From APP_URL; from Host only in DEBUG."""
    secure: bool
    """True if cookies must carry ``Secure``."""
    locale: str
    nonce: str
    """This response's Content-Security-Policy nonce."""
    verified_email: str | None = None
    """The email address this request has verified, so that a login that follows can record it."""
    verified_by: str | None = None
    """The login method that verified ``verified_email``."""
    wanted_url: str | None = None
    """The checked URL to go to after the login; for an app's own ``request.login(user)``."""
    scopes: tuple[str, ...] | None = None
    """The permission patterns to which this request's API token is limited; None: no limit."""
    proof_error: AuthError | None = None
    """Why the proof in this request (a bearer token) was rejected; None: it was not."""
    native: object = None
    """The framework's own request, for functions of the app."""

    @property
    @abstractmethod
    def session(self) -> Session:
        """The browser's session."""

    @property
    @abstractmethod
    def user(self) -> User | None:
        """The current user, if fully logged in (second factor included), or None."""

    @property
    @abstractmethod
    def csrf_field(self) -> Markup:
        """The hidden ``<input>`` that every form with method POST must contain."""

    @abstractmethod
    def set_cookie(self, name: str, value: str, *, max_age: int, path: str = "/") -> None:
        """Send a cookie: HttpOnly, SameSite=Lax, Secure if the request is; ``max_age`` in seconds.

        ``max_age=0`` deletes it. It is sent with the response that follows, redirects included.
        """

    def in_layout(self, template: str, parts: Mapping[str, Markup]) -> str:
        """A page rendered by the framework from the app's own ``template`` and ``parts``."""
        raise NotImplementedError("This framework's adapter has no layouts.")

    @abstractmethod
    def translate(self, message: str, **values: str | int) -> str:
        """``message`` in the user's language, with ``{name}`` placeholders filled in."""


@dataclass(frozen=True, slots=True)
class WebResponse:
    """The response to a :class:`WebRequest`. Body and headers may hold secrets, so ``repr`` omits them."""

    body: str = field(default="", repr=False)
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def see_other(cls, location: str) -> WebResponse:
        """303 to ``location`` (RFC 9110, section 15.4.4), never stored."""
        return cls(status=303, headers=(("Location", location), ("Cache-Control", "no-store")))


Handler = Callable[[WebRequest], WebResponse]


@dataclass(frozen=True, slots=True)
class Route:
    """An exact path below ``/`` and its handlers, by method.

    GET answers HEAD too. POST is checked for CSRF by the framework unless ``csrf`` is False,
    which only a route that authenticates its caller in another way may set.
    """

    path: str
    get: Handler | None = None
    post: Handler | None = None
    csrf: bool = True
