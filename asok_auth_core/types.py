"""Values that travel between the layers and to plugins. All frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import msgspec

Clock = Callable[[], float]
"""Seconds since the epoch, like ``time.time``. Passed in, so that tests control time."""

Random = Callable[[int], bytes]
"""``n`` bytes from a cryptographic source, like ``secrets.token_bytes``."""

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
"""What JSON text can say."""


class RedactedStruct(msgspec.Struct, frozen=True):
    """Base of structs with secrets: ``repr`` shows only the fields in ``shown``."""

    shown: ClassVar[tuple[str, ...]] = ()
    """The names of the fields that are no secrets."""

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name in self.shown]

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self.__rich_repr__()]
        hidden = ["…"] if len(shown) < len(self.__struct_fields__) else []
        return f"{type(self).__name__}({', '.join(shown + hidden)})"


class User(Protocol):
    """The app's own user model: it must have an id. Everything else is optional."""

    @property
    def id(self) -> int | str | None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """A user's identity at a provider.

    ``(issuer, subject)`` is the key (OpenID Connect Core 1.0, section 2). Email addresses and names
    can pass to other users, so they never identify. ``email_verified`` is true only if the provider
    sent the boolean ``true``.
    """

    issuer: str
    subject: str
    provider: str = ""
    email: str | None = None
    email_verified: bool = False
    name: str | None = None
    picture: str | None = None
    raw: Mapping[str, JSON] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A user with a verified email address and no account yet: the login creates one.

    ``email`` is normalized. ``id`` is None until then, as for every user that is not stored.
    """

    email: str
    name: str | None = None
    id: None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What a first factor proved. A login method hands it to ``complete_login``.

    ``method`` is the login method's name. ``email`` is the email address that the proof verified, and
    ``identity`` the identity it came with, to be linked to the account once the login is complete.
    ``trusted`` is False if a provider verified ``email`` that is not trusted for it: then the login leads to
    no existing account by its email address, and does not mark it as verified.
    """

    method: str
    email: str | None = None
    identity: Identity | None = None
    trusted: bool = True

    @property
    def verified_email(self) -> str | None:
        """The email address that the login verifies for its account, or None."""
        return self.email if self.trusted else None


@dataclass(frozen=True, slots=True)
class Authentication:
    """The user that a request itself authenticates, without a session.

    ``scopes`` are the permission patterns that it is limited to; None means no limit. ``ambient`` says
    whether a browser would send the proof by itself, as it does with a cookie, Basic credentials, a
    client certificate or a header that a proxy adds. Only a proof that no browser sends by itself needs
    no CSRF check. ``expires_at`` is when the proof expires (seconds since the epoch), if it does.
    ``token_id`` is the id of the API token, if that is the proof.
    """

    user: User
    scopes: tuple[str, ...] | None = None
    ambient: bool = True
    expires_at: float | None = None
    token_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One login of a user in one browser. Times are seconds since the epoch.

    ``factors`` are the second factors that were given. ``id`` is no secret.
    """

    id: str
    user_id: str
    method: str
    factors: tuple[str, ...]
    logged_in_at: float
    last_seen: float
    remember: bool
    user_agent: str
    impersonates: str | None = None
    """The id of the user that the session's user acts as, and since when."""
    impersonates_since: float = 0.0
    confirmed_at: float = 0.0
    """When the user last gave a second factor again in it; 0: not since the login."""


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A login with a verified first factor; ``asok_auth_before_login`` may reject it.

    ``user`` is a :class:`Newcomer` if there is no account yet. ``method`` is the login method's name
    (``magic``, ``google``, ``app`` for an app's own page). ``trusted`` is False if a provider verified the
    newcomer's email address that is not trusted for it.
    """

    user: User | Newcomer
    method: str
    client_ip: str
    at: float
    identity: Identity | None = None
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``name`` is dotted, such as ``login.succeeded``.

    ``detail`` holds only what may be logged: no secret, token, code or link.
    """

    name: str
    at: float
    user_id: str | None = None
    method: str | None = None
    client_ip: str | None = None
    detail: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission pattern (``*``, ``a.*``, ``a.b``) and where it comes from."""

    pattern: str
    source: str = ""


Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``asok-auth doctor``: what is wrong and what to do about it."""

    check: str
    severity: Severity
    message: str
    remedy: str = ""


PluginState = Literal["loaded", "disabled", "quarantined"]


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin in ``asok-auth plugins``; ``reason`` says why it is not loaded."""

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()
    state: PluginState = "loaded"
    reason: str = ""
    entry_point: str = ""
    """``name = module``; empty for a plugin that the app passes itself."""
    import_seconds: float = 0.0
    """How long its module and what that imports took to import; 0 for a plugin that was not imported."""


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """One mail to one recipient, not checked: transports reject bad headers.

    The bodies hold login links, so they are left out of the ``repr``.
    """

    to: str
    subject: str
    text: str = field(repr=False)
    html: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Installation:
    """One database of an app: a tenant's, or the only one.

    ``id`` is random and prefixes every key of this database in the state store. ``highest_user_id`` is
    the highest user id when the row was made, 0 without users; None if the user directory cannot tell.
    """

    id: str
    highest_user_id: int | None


@dataclass(frozen=True, slots=True)
class StateOperation:
    """One operation of ``StateStore.batch``: the method ``name`` and its arguments."""

    name: Literal["put", "get", "take", "add", "incr", "delete"]
    key: str
    value: bytes = field(default=b"", repr=False)
    ttl: int = 0


StateResult = bytes | bool | int | None
"""What the method of that name returns."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One row of the CredentialStore.

    ``data`` is JSON text; ``version`` counts replacements. ``data`` may hold key material, so it is left out
    of the ``repr``.

    Times are seconds since the epoch.
    """

    id: str
    user_id: str
    kind: str
    identifier: str
    data: str = field(repr=False)
    version: int
    created_at: float
    last_used_at: float | None = None
