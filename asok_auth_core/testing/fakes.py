"""In-memory fakes of the framework, the app's users and the clock.

Nothing here does I/O.
"""

from __future__ import annotations

import itertools
import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit

import msgspec
from markupsafe import Markup

from ..auth import Auth
from ..contracts import CredentialStore, UserDirectory
from ..engine.storable import storable
from ..errors import AccountExists, AuthError, CredentialExists, StoreError
from ..flows.authentication import authenticate
from ..flows.sessions import find_session, session_cookie
from ..stores.bounds import credential_problem
from ..types import (
    JSON,
    Authentication,
    Clock,
    Credential,
    Installation,
    Proof,
    Random,
    SessionRecord,
    User,
)
from ..web import Session, WebRequest, check_cookie_value


class FrozenClock:
    """A clock that only :meth:`advance` moves; seconds since the epoch."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock ``seconds`` ahead."""
        self.now += seconds


@dataclass
class FakeUser:
    """A user of an app."""

    id: str
    email: str | None = None
    name: str | None = None
    is_active: bool = True
    password: str | None = field(default=None, repr=False)
    roles: list[str] = field(default_factory=list)


class MemoryUsers(UserDirectory):
    """The users of an app, in memory; email addresses are unique and exact."""

    def __init__(self, *users: FakeUser) -> None:
        self._users = {user.id: user for user in users}
        self._lock = threading.Lock()

    def by_id(self, user_id: str) -> FakeUser | None:
        return self._users.get(user_id)

    def by_email(self, email: str) -> FakeUser | None:
        return next((user for user in list(self._users.values()) if user.email == email), None)

    def create(self, email: str, name: str | None = None) -> FakeUser:
        with self._lock:
            if any(user.email == email for user in self._users.values()):
                raise AccountExists("There is an account with this email address.")
            user = FakeUser(str(len(self._users) + 1), email, name)
            self._users[user.id] = user
            return user

    def email_of(self, user: User) -> str | None:
        return self._users[str(user.id)].email

    def is_active(self, user: User) -> bool:
        return self._users[str(user.id)].is_active

    def set_email(self, user: User, email: str) -> None:
        with self._lock:
            if any(other.email == email and other.id != str(user.id) for other in self._users.values()):
                raise AccountExists("There is an account with this email address.")
            self._users[str(user.id)].email = email

    def set_up(self, user: User, *, name: str | None = None, roles: Sequence[str] = ()) -> None:
        kept = self._users[str(user.id)]
        kept.name = kept.name or name
        kept.roles += [role for role in roles if role not in kept.roles]

    def set_active(self, user: User, active: bool) -> None:
        self._users[str(user.id)].is_active = active

    def remove(self, user: User) -> None:
        with self._lock:
            self._users.pop(str(user.id), None)

    def highest_id(self) -> int | None:
        ids = list(self._users)
        return max(map(int, ids), default=0) if all(id_.isdecimal() for id_ in ids) else None

    def has_password(self, user: User) -> bool:
        return self._users[str(user.id)].password is not None

    def clear_password(self, user: User) -> bool:
        self._users[str(user.id)].password = None
        return True

    def __len__(self) -> int:
        return len(self._users)


class FakeSession(Session):
    """What the framework keeps about a browser; ``id`` changes with each login."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(16)
        self.csrf_token = secrets.token_hex(16)
        self.user: User | None = None
        self.record: SessionRecord | None = None
        self.values: dict[str, JSON] = {}

    @property
    def remembered(self) -> bool:
        """True if the user asked to be remembered."""
        return self.record is not None and self.record.remember

    def get(self, key: str) -> JSON:
        return self.values.get(key)

    def set(self, key: str, value: JSON) -> None:
        self.values[key] = json.loads(json.dumps(value))

    def pop(self, key: str) -> JSON:
        return self.values.pop(key, None)

    def begin(self, user: User, record: SessionRecord) -> None:
        self._renew()
        self.user, self.record = user, record

    def end(self) -> None:
        self._renew()
        self.values.clear()
        self.user = self.record = None

    def _renew(self) -> None:
        self.id = secrets.token_hex(16)
        self.csrf_token = secrets.token_hex(16)


class FakeRequest(WebRequest):
    """A request. ``FakeRequest("/auth/x?a=b")`` comes from a new browser.

    :meth:`follow` makes the next request of the same browser, with its session and the cookies set
    so far. ``sent_cookies`` maps each cookie of the response to ``(value, max_age, path)``.

    ``json`` is sent with its Content-Type, ``body`` with that in ``headers``; both make it a POST.

    ``user`` is logged in without a session record. With ``auth``, the user is found as an app finds
    them: by a proof in the request, such as an API token, else by the cookie of the browser's session.
    """

    def __init__(
        self,
        url: str = "/",
        *,
        method: str | None = None,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: JSON = None,
        body: bytes = b"",
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        client_ip: str = "192.0.2.1",
        base_url: str = "https://app.example",
        locale: str = "en",
        session: FakeSession | None = None,
        user: User | None = None,
        auth: Auth | None = None,
    ) -> None:
        parts = urlsplit(url)
        if json is not None:
            body = msgspec.json.encode(json)
            headers = {"Content-Type": "application/json", **(headers or {})}
        self.method = method or ("GET" if form is None and not body else "POST")
        self.body = body
        self.path = parts.path
        asked = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **(query or {})}
        self.query = {storable(name): storable(text) for name, text in asked.items()}
        self.form = {storable(name): storable(text) for name, text in (form or {}).items()}
        self.cookies = dict(cookies or {})
        self.headers = {name.title(): value for name, value in (headers or {}).items()}
        self.client_ip = client_ip
        self.base_url = base_url
        self.secure = base_url.startswith("https://")
        self.locale = locale
        self.nonce = secrets.token_urlsafe(16)
        self.sent_cookies: dict[str, tuple[str, int, str]] = {}
        self._session = session or FakeSession()
        self._auth = auth
        self._authentication: Authentication | None = None
        self._rejected_proof: AuthError | None = None
        self._is_proved = False
        """Whether ``auth`` was asked for a proof in this request, and found one, valid or not."""
        self._was_asked = auth is None
        self.proofs: list[tuple[Proof, str | None]] = []
        """What the request's pages proved for the framework's own ``request.login(user)``."""
        if user is not None:
            self._session.user = user

    @property
    def session(self) -> FakeSession:
        return self._session

    @property
    def authentication(self) -> Authentication | None:
        self._authenticate()
        return self._authentication

    @authentication.setter
    def authentication(self, given: Authentication | None) -> None:
        self._authentication, self._was_asked = given, True

    @property
    def rejected_proof(self) -> AuthError | None:
        self._authenticate()
        return self._rejected_proof

    @rejected_proof.setter
    def rejected_proof(self, given: AuthError | None) -> None:
        self._rejected_proof, self._was_asked = given, True

    @property
    def user(self) -> User | None:
        self._authenticate()
        if self._is_proved:
            return None if self._authentication is None else self._authentication.user
        found = self._found()
        return self._session.user if found is None else found[1]

    @property
    def session_record(self) -> SessionRecord | None:
        self._authenticate()
        if self._is_proved:
            return None
        found = self._found()
        return self._session.record if found is None else found[0]

    def keep_proof(self, proof: Proof, next_url: str | None = None) -> None:
        self.proofs.append((proof, next_url))

    def _authenticate(self) -> None:
        """Ask the app's login methods, once, for a proof in the request."""
        if self._was_asked or self._auth is None:
            return
        self._was_asked = True  # first: a method may ask for the user
        try:
            proved = authenticate(self._auth, self)
        except AuthError as error:
            self._rejected_proof, self._is_proved = error, True
            return
        if proved is not None:
            self._is_proved = True
            if self._auth.users.is_active(proved.user):
                self._authentication = proved

    def _found(self) -> tuple[SessionRecord | None, User | None] | None:
        """The session of the cookie; None without ``auth`` or with a new cookie."""
        name = session_cookie(secure=self.secure)
        if self._auth is None or name in self.sent_cookies:
            return None
        return find_session(self._auth, self.cookies.get(name)) or (None, None)

    @property
    def csrf_field(self) -> Markup:
        return Markup('<input type="hidden" name="csrf_token" value="{}">').format(self._session.csrf_token)

    def set_cookie(self, name: str, value: str, *, max_age: int, path: str = "/") -> None:
        check_cookie_value(name, value)
        self.sent_cookies[name] = (value, max_age, path)

    def translate(self, message: str, **values: str | int) -> str:
        return message.format(**values) if values else message

    def follow(
        self,
        url: str,
        *,
        method: str | None = None,
        form: Mapping[str, str] | None = None,
        json: JSON = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> FakeRequest:
        """Make the next request of the same browser."""
        cookies = dict(self.cookies)
        for name, (value, max_age, _) in self.sent_cookies.items():
            if max_age > 0:
                cookies[name] = value
            else:
                cookies.pop(name, None)
        return FakeRequest(
            url,
            method=method,
            form=form,
            json=json,
            body=body,
            cookies=cookies,
            headers=headers,
            client_ip=self.client_ip,
            base_url=self.base_url,
            locale=self.locale,
            session=self._session,
            auth=self._auth,
        )


class MemoryCredentialStore(CredentialStore):
    """Credentials in memory; operations are atomic between threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, Credential] = {}
        self._numbers = itertools.count(1)
        self._installation: Installation | None = None
        self._lock = threading.Lock()

    def add(self, user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
        if problem := credential_problem(user_id=user_id, kind=kind, identifier=identifier):
            raise StoreError(problem)
        with self._lock:
            if self._find(kind, identifier) is not None:
                raise CredentialExists(f"A credential of kind {kind!r} with this identifier already exists.")
            row = Credential(
                str(next(self._numbers)), user_id, kind, identifier, json.dumps(data), 1, self._clock()
            )
            self._rows[row.id] = row
            return row

    def find(self, kind: str, identifier: str) -> Credential | None:
        with self._lock:
            return self._find(kind, identifier)

    def list(self, user_id: str, kind: str | None = None) -> Sequence[Credential]:
        with self._lock:
            return [row for row in self._rows.values() if row.user_id == user_id and kind in (None, row.kind)]

    def of_kind(self, kind: str, after: str = "", limit: int = 200) -> Sequence[Credential]:
        with self._lock:
            rows = [row for row in self._rows.values() if row.kind == kind and row.identifier > after]
            return sorted(rows, key=lambda row: row.identifier)[:limit]

    def replace(self, credential: Credential, data: JSON) -> Credential | None:
        with self._lock:
            row = self._rows.get(credential.id)
            if row is None or row.version != credential.version:
                return None
            self._rows[row.id] = replace(row, data=json.dumps(data), version=row.version + 1)
            return self._rows[row.id]

    def remove(self, credential: Credential) -> bool:
        with self._lock:
            return self._rows.pop(credential.id, None) is not None

    def touch(self, credential: Credential, at: float) -> None:
        with self._lock:
            if row := self._rows.get(credential.id):
                self._rows[row.id] = replace(row, last_used_at=at)

    def installation(self, users: UserDirectory, random: Random) -> Installation:
        if self._installation is None:
            self._installation = super().installation(users, random)
        return self._installation

    def _find(self, kind: str, identifier: str) -> Credential | None:
        wanted = (kind, identifier)
        return next((row for row in self._rows.values() if (row.kind, row.identifier) == wanted), None)
