"""What pages and flows need of a web framework; an adapter provides it.

Nothing here imports a framework. ``WebRequest`` and ``Session`` are implemented by the adapter
(and by :mod:`asok_auth_core.testing`); plugins only use them.
"""

from __future__ import annotations

import json as _json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from markupsafe import Markup

from .engine.strict_json import JSONInvalid, read_strict
from .errors import AuthError, BodyInvalid
from .types import JSON, Authentication, Proof, SessionRecord, User

MAX_JSON_BYTES = 64 * 1024
"""The largest JSON body that ``WebRequest.json`` reads."""

_UNFIT = re.compile(r"[^\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]")


def check_cookie_value(name: str, value: str) -> None:
    """Raise ValueError if ``value`` would add attributes or headers to the answer.

    Every adapter's ``set_cookie`` calls it, since frameworks decode what browsers send as values (RFC 6265,
    section 4.1.1).
    """
    if _UNFIT.search(value):
        raise ValueError(f"The value of the cookie {name} would add attributes or headers to the answer.")


class Session(ABC):
    """What the framework keeps on the server for one browser, logged in or not.

    It logs no user in; the :class:`~asok_auth_core.types.SessionRecord` does.
    """

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
    def begin(self, user: User, record: SessionRecord) -> None:
        """Log ``user`` in: new session id and CSRF token; only for ``begin_session``."""

    @abstractmethod
    def end(self) -> None:
        """Log out: what the framework keeps about the session is gone on the server too."""


class WebRequest(ABC):
    """One HTTP request as pages, flows and plugins see it."""

    method: str
    """``GET``, ``HEAD``, ``POST`` …, as sent (HEAD is not turned into GET)."""
    path: str
    """Percent-decoded once, as UTF-8; U+FFFD stands for what is not UTF-8."""
    params: Mapping[str, str] = MappingProxyType({})
    """The parameters of the route's path, such as ``id`` of ``/things/{id}``: never empty, without ``/``."""
    query: Mapping[str, str]
    """As :attr:`form`: without NUL and lone surrogates, for which U+FFFD stands."""
    form: Mapping[str, str]
    """Fields of the request's body only; never of the query string."""
    body: bytes = b""
    """The body as sent; empty if the request does not give its Content-Length."""
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
    def session_record(self) -> SessionRecord | None:
        """This browser's login; None if a proof in the request authenticated the user.

        During impersonation its ``user_id`` is the impersonator's.
        """

    @property
    @abstractmethod
    def authentication(self) -> Authentication | None:
        """The proof in the request itself that authenticated the current user, or None."""

    @property
    @abstractmethod
    def rejected_proof(self) -> AuthError | None:
        """Why the proof in the request (a bearer token) was rejected, or None."""

    @cached_property
    def json(self) -> JSON:
        """The body as JSON (RFC 8259), of at most :data:`MAX_JSON_BYTES`.

        Raises BodyInvalid, which is answered with 415 unless Content-Type is ``application/json``, with 413
        if the body is too large, and with 400 and the reason if it is not JSON, or has a name twice, NaN,
        NUL, a lone surrogate or deep nesting.
        """
        if not self.sends_json:
            raise BodyInvalid("Send JSON, with the header Content-Type: application/json.", code="body_type")
        if len(self.body) > MAX_JSON_BYTES:
            raise BodyInvalid(
                "The body of the request has more than {limit} bytes.",
                code="body_too_large",
                limit=MAX_JSON_BYTES,
            )
        try:
            return read_strict(self.body)
        except JSONInvalid as error:
            raise BodyInvalid(
                "The body of the request is not valid JSON: {reason}.",
                code="body_malformed",
                reason=str(error),
            ) from None

    @property
    def sends_json(self) -> bool:
        """True if the body's Content-Type is ``application/json``."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"

    @property
    def scopes(self) -> tuple[str, ...] | None:
        """The patterns that this request's API token is limited to; None: no limit."""
        return None if self.authentication is None else self.authentication.scopes

    @cached_property
    def kept(self) -> dict[object, object]:
        """What a function remembers for this request, under a key of its own."""
        return {}

    @abstractmethod
    def keep_proof(self, proof: Proof, next_url: str | None = None) -> None:
        """Keep ``proof`` for the framework's ``request.login(user)`` in this request.

        It counts for one login, and only if ``proof.email`` is that user's email address. ``next_url``
        is the checked URL to go to afterwards. For calls that an app's own page makes, such as
        ``request.auth.magic.verify_token``; our own pages call ``complete_login``.
        """

    @property
    @abstractmethod
    def csrf_field(self) -> Markup:
        """The hidden ``<input>`` that every form with method POST must contain."""

    @abstractmethod
    def set_cookie(self, name: str, value: str, *, max_age: int, path: str = "/") -> None:
        """Send a cookie: HttpOnly, SameSite=Lax, Secure on https; ``max_age`` in seconds.

        ``max_age=0`` deletes it. It is sent with the response that follows, redirects included. Raises
        ValueError for a value that would add attributes or headers.
        """

    def in_layout(self, template: str, parts: Mapping[str, Markup]) -> str:
        """A page rendered by the framework from the app's own ``template`` and ``parts``."""
        raise NotImplementedError("This framework's adapter has no layouts.")

    @abstractmethod
    def translate(self, message: str, **values: str | int) -> str:
        """``message`` in the user's language, with ``{name}`` placeholders filled in."""


@dataclass(frozen=True, slots=True)
class WebResponse:
    """The response to a :class:`WebRequest`; ``repr`` omits body and headers."""

    body: str | bytes = field(default="", repr=False)
    """``str`` is sent as UTF-8."""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def see_other(cls, location: str) -> WebResponse:
        """303 to ``location`` (RFC 9110, section 15.4.4), never stored."""
        return cls(status=303, headers=(("Location", location), ("Cache-Control", "no-store")))

    @classmethod
    def json(cls, data: JSON, status: int = 200) -> WebResponse:
        """``data`` as JSON, never stored. Raises ValueError for NaN or Infinity."""
        body = _json.dumps(data, allow_nan=False)
        return cls(body, status, "application/json", (("Cache-Control", "no-store"),))

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body if isinstance(self.body, str) else self.body.decode()


Handler = Callable[[WebRequest], WebResponse]
"""Answers a request. An AuthError that it raises becomes a page, or JSON."""


@dataclass(frozen=True, slots=True)
class Route:
    """A path, such as ``/things`` or ``/things/{id}``, and its handlers, by method.

    ``{id}`` stands for one segment of the path, in ``request.params["id"]``. An exact path comes before
    one with parameters. GET answers HEAD too; a method without a handler is answered with 405.

    POST, PUT, PATCH and DELETE are checked for CSRF by the framework unless ``csrf`` is False, which only a
    route that authenticates its caller in another way may set: for these methods, ``request.user`` is then
    None unless a proof that no browser sends by itself (a bearer token) is in the request.

    ``json``: errors are answered with JSON even if the client does not ask for it.
    """

    path: str
    get: Handler | None = None
    post: Handler | None = None
    put: Handler | None = None
    patch: Handler | None = None
    delete: Handler | None = None
    csrf: bool = True
    json: bool = False

    def handler(self, method: str) -> Handler | None:
        """The handler of an HTTP method, or None."""
        name = _HANDLERS.get(method)
        return None if name is None else getattr(self, name)

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods that have a handler."""
        return tuple(method for method in _HANDLERS if self.handler(method) is not None)


_HANDLERS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "post",
    "PUT": "put",
    "PATCH": "patch",
    "DELETE": "delete",
}
