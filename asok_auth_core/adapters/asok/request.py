"""Asok's request and session as pages, flows and plugins see them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast
from urllib.parse import urlsplit

from asok.request import Request
from asok.templates import SafeString
from markupsafe import Markup

from ...auth import Auth
from ...engine.client_ip import client_ip as trusted_client_ip
from ...engine.storable import storable
from ...engine.urls import is_loopback
from ...errors import AuthError, ConfigurationError
from ...pages.locales import Catalogs
from ...types import JSON, Authentication, Proof, SessionRecord, User
from ...web import Session, WebRequest, check_cookie_value
from .asok_names import original

ASOK_LOGIN = original(Request, "login")
ASOK_LOGOUT = original(Request, "logout")

IMPERSONATOR_KEY = "impersonator_id"
"""The session key in which Asok's Admin stores the impersonator's user id."""
STARTED_KEY = "impersonate_started_at"
"""And when the impersonation started, in seconds since the epoch."""

OWNER_KEY = "asok_auth_owner"
"""The session key for the id of the user who logged in last; kept when that login ends."""

T = TypeVar("T")

_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")
"""What a WSGI environ holds without HTTP_ before it (PEP 3333)."""


@dataclass(frozen=True, slots=True)
class Current:
    """The current user of a request and how they were authenticated."""

    user: User | None = None
    record: SessionRecord | None = None
    authentication: Authentication | None = None
    error: AuthError | None = None
    """Why a proof in the request was rejected."""
    impersonator: User | None = None
    """The owner of the session, if it impersonates ``user``."""


class AsokSession(Session):
    """Asok's server-side session; ``user_id`` follows our record."""

    def __init__(self, request: Request, web: AsokWebRequest) -> None:
        self._request = request
        self._web = web

    def get(self, key: str) -> JSON:
        return cast("JSON", self._request.session.get(key))

    def set(self, key: str, value: JSON) -> None:
        self._request.session[key] = value

    def pop(self, key: str) -> JSON:
        return cast("JSON", self._request.session.pop(key, None))

    def begin(self, user: User, record: SessionRecord) -> None:
        # Asok keeps everything: the next user who logs in with this browser would see what another left, and
        # its Admin would admit them as an impersonator.
        if self.get(OWNER_KEY) not in (None, str(user.id)):
            self._request.session.clear()
        self.set(OWNER_KEY, str(user.id))
        for name in (IMPERSONATOR_KEY, STARTED_KEY):
            self.pop(name)
        ASOK_LOGIN(self._request, user, remember=record.remember)
        self._web.current = Current(user, record)

    def end(self) -> None:
        ASOK_LOGOUT(self._request)
        # Asok would look the user up again, from cookies that this response deletes.
        self._request._auth_resolved = True
        self._web.current = Current()


class Headers(Mapping[str, str]):
    """The request's headers, names in any case (RFC 9110, section 5.1).

    Each lookup goes to the environ: Asok's own dictionary rewrites the names of all headers first.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._environ = request.environ

    def get(self, name: str, default: T = None) -> str | T:  # type: ignore[assignment]
        key = name.upper().replace("-", "_")
        if key not in _WITHOUT_PREFIX:
            key = "HTTP_" + key
        return cast("str | T", self._environ.get(key, default))

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._request.headers)

    def __len__(self) -> int:
        return len(self._request.headers)


class AsokWebRequest(WebRequest):
    """One Asok request, as ``AppAuth.web_request`` makes and keeps it.

    What takes time is computed on first use: most requests only need their current user.
    """

    def __init__(self, request: Request, auth: Auth, catalogs: Catalogs) -> None:
        self._request = request
        self._auth = auth
        self._catalogs = catalogs
        self._session = AsokSession(request, self)
        self._kept: tuple[Proof, str | None] | None = None
        self.current: Current | None = None
        """Set by :class:`~.app_auth.AppAuth` when the user is first asked for, and by the session."""
        self.is_use = True
        """False if the app looks the user up without an action of theirs; the idle limit goes on."""
        self.native = request
        self.method = request.environ.get("REQUEST_METHOD", "GET")
        self.path = path_of(request)
        self.body = request.body
        self.cookies = request.cookies_dict
        self.headers = Headers(request)

    @cached_property
    def query(self) -> Mapping[str, str]:  # type: ignore[override]
        return _storable(self._request.args)

    @cached_property
    def form(self) -> Mapping[str, str]:  # type: ignore[override]
        return _storable(self._request.post_form)

    @cached_property
    def client_ip(self) -> str:  # type: ignore[override]
        environ = self._request.environ
        return trusted_client_ip(
            environ.get("REMOTE_ADDR", ""),
            environ.get("HTTP_X_FORWARDED_FOR"),
            _trusted_proxies(self._request.app.config.get("TRUSTED_PROXIES")),
        )

    @cached_property
    def secure(self) -> bool:  # type: ignore[override]
        app_url = self._auth.settings.app.url
        return app_url.startswith("https:") if app_url else self._request.scheme == "https"

    @cached_property
    def locale(self) -> str:  # type: ignore[override]
        return self._catalogs.choose(self._request.lang, self._request.app.locales)

    @cached_property
    def nonce(self) -> str:  # type: ignore[override]
        return str(self._request.nonce)

    @property
    def base_url(self) -> str:  # type: ignore[override]
        """See WebRequest.

        Raises ConfigurationError without APP_URL, except on loopback in DEBUG.
        """
        settings = self._auth.settings
        if settings.app.url:
            return settings.app.url
        host = str(self._request.environ.get("HTTP_HOST") or "localhost")
        parts = urlsplit(f"//{host}")
        if (
            not settings.app.debug
            or not is_loopback(parts.hostname or "")
            or parts.netloc != host
            or "@" in host
        ):
            raise ConfigurationError(
                "APP_URL is not set. Links in mails and redirect URLs are built from it, never from the "
                "Host header. Set APP_URL=https://your.domain in .env."
            )
        return f"{self._request.scheme}://{host}"

    @property
    def session(self) -> Session:
        return self._session

    @property
    def user(self) -> User | None:
        # The property as patched by patches/request.py: its users have can().
        return cast("User | None", self._request.user)

    @property
    def session_record(self) -> SessionRecord | None:
        return self._resolved().record

    @property
    def authentication(self) -> Authentication | None:
        return self._resolved().authentication

    @property
    def rejected_proof(self) -> AuthError | None:
        return self._resolved().error

    def keep_proof(self, proof: Proof, next_url: str | None = None) -> None:
        self._kept = (proof, next_url)

    def take_proof(self) -> tuple[Proof, str | None] | None:
        """Return the proof that :meth:`keep_proof` stored last, once."""
        kept, self._kept = self._kept, None
        return kept

    def _resolved(self) -> Current:
        if self.current is None:
            _ = self.user
        return self.current or Current()

    @property
    def csrf_field(self) -> Markup:
        return Markup(str(self._request.csrf_input()))  # noqa: S704 - Asok escapes the token

    def set_cookie(self, name: str, value: str, *, max_age: int, path: str = "/") -> None:
        check_cookie_value(name, value)
        secure = "; Secure" if self.secure else ""
        cookie = f"{name}={value}; HttpOnly; Path={path}; SameSite=Lax; Max-Age={max_age}{secure}"
        self._request.environ.setdefault("asok_auth.cookies", []).append(("Set-Cookie", cookie))

    def in_layout(self, template: str, parts: Mapping[str, Markup]) -> str:
        safe = {name: SafeString(str(part)) for name, part in parts.items()}
        return str(self._request.html(template, **safe))

    def translate(self, message: str, **values: str | int) -> str:
        own = self._request.app.locales.get(self.locale)
        return self._catalogs.translate(message, self.locale, values, own)


def _storable(fields: Mapping[str, object]) -> dict[str, str]:
    """The text of ``fields``; Asok's may hold NUL and, from JSON, lone surrogates."""
    return {storable(name): storable(text) for name, text in fields.items() if isinstance(text, str)}


def path_of(request: Request) -> str:
    """The path of ``request``, percent-decoded once; U+FFFD replaces invalid UTF-8."""
    return decoded_path(request.path, request)


def decoded_path(path: str, request: Request) -> str:
    """``path``, which is Latin-1 with WSGI (PEP 3333) and text with ASGI."""
    if path.isascii() or "asok.asgi" in request.environ:
        return path
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _trusted_proxies(setting: object) -> Collection[str] | None:
    if isinstance(setting, str):
        return [part.strip() for part in setting.split(",") if part.strip()]
    return cast("Collection[str] | None", setting)
