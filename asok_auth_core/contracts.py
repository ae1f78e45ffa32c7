"""What a plugin can implement; each class has a contract suite."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, TypeVar, get_args

from markupsafe import Markup

from .engine.encoding import b64url_encode
from .engine.keys import KeyRing
from .engine.signer import Signer as Signer
from .errors import AuthError, ConfigurationError, CredentialExists, StoreUnavailable
from .types import (
    JSON,
    Authentication,
    Credential,
    Finding,
    Grant,
    Installation,
    LoginAttempt,
    Newcomer,
    OutgoingMail,
    Random,
    StateOperation,
    StateResult,
    User,
)
from .web import Route, WebRequest

V = TypeVar("V")

MARK_BYTES = 16
MARK_KEY = "token-revocation-mark"
MARK_LIFETIME = 30 * 24 * 3600

AccountGroup = Literal["login", "security", "devices", "tokens", "data"]
"""A section of the account page: login methods, security, devices, API tokens, the user's data."""
ACCOUNT_GROUPS: tuple[AccountGroup, ...] = get_args(AccountGroup)

INSTALLATION = "installation"
"""Kind and owner of the rows that describe the database itself; no user has them."""
INSTALLATION_ID_BYTES = 16


class RevocationMark(ABC):
    """Random bytes shared by all workers, equal only if nothing was revoked.

    Every revocation advances the mark. A worker that remembers a verified token compares marks and
    reads the token's record again only if they differ, so the cost does not grow with the number of
    revoked tokens.
    """

    @abstractmethod
    def current(self) -> bytes:
        """The mark. Raises StoreUnavailable if it cannot be read."""

    @abstractmethod
    def advance(self) -> None:
        """Change the mark. Raises StoreUnavailable if it cannot be changed."""


class StateStore(ABC):
    """Short-lived values, atomic across threads, processes and machines.

    Keys are 1 to 1,024 bytes of UTF-8; values 0 to 65,536 bytes; times to live in whole seconds
    from 1. Expired entries do not exist. Everything raises
    :class:`~asok_auth_core.errors.StoreUnavailable` within two seconds if the store cannot answer,
    and in that case nothing may have been granted.

    Plugins and flows get the chosen store as ``auth.state``, wrapped so that it belongs to the app's
    database: keys are prefixed with an id of that database and values are sealed. That costs
    35 bytes of each value (the largest has 65,501), counters excepted, and shows another app, another
    tenant, or a changed value as an entry that does not exist. A key that the prefix would make too long
    is replaced by its digest. ``get`` and ``take`` do not read counters.
    """

    @abstractmethod
    def put(self, key: str, value: bytes, ttl: int) -> None:
        """Set ``key``, replacing what was there."""

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """The value, or None."""

    @abstractmethod
    def take(self, key: str) -> bytes | None:
        """Read and delete in one step; exactly one of several callers gets the value."""

    @abstractmethod
    def add(self, key: str, value: bytes, ttl: int) -> bool:
        """Set ``key`` only if it does not exist; one of several callers gets True."""

    @abstractmethod
    def incr(self, key: str, ttl: int) -> int:
        """Add one to a counter and return it; the first call starts its ``ttl``.

        A later call does not extend the time to live. A caller never uses one key for both a counter
        and a value.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove ``key`` if it is there."""

    def batch(self, operations: Sequence[StateOperation]) -> Sequence[StateResult]:
        """Run independent operations and return their results, in the same order.

        Each of them is atomic, the batch need not be: if it raises, any of them may have been done.
        Override it if the store can answer all of them in one round trip.
        """
        return [run_operation(self, operation) for operation in operations]

    def check(self) -> Iterable[Finding]:
        """Report settings of the service that would lose or repeat state, for the doctor."""
        return ()

    def revocation_mark(self, random: Random) -> RevocationMark:
        """The mark that all workers on this store share; by default a value in the store.

        Override it if the store can share 16 bytes at a lower cost than one :meth:`get` per request.
        """
        return StoredMark(self, random)

    def close(self) -> None:
        """Close connections and files. The store may be used again afterwards."""


def run_operation(store: StateStore, operation: StateOperation) -> StateResult:
    """Call the method of ``store`` that ``operation`` names."""
    match operation:
        case StateOperation("put", key, value, ttl):
            return store.put(key, value, ttl)
        case StateOperation("get", key):
            return store.get(key)
        case StateOperation("take", key):
            return store.take(key)
        case StateOperation("add", key, value, ttl):
            return store.add(key, value, ttl)
        case StateOperation("incr", key, ttl=ttl):
            return store.incr(key, ttl)
        case StateOperation("delete", key):
            return store.delete(key)
    raise ValueError(f"A state store has no operation {operation.name!r}.")


class StoredMark(RevocationMark):
    """A mark in a state store, read with one ``get``. ``key`` is asked each time."""

    def __init__(self, state: StateStore, random: Random, key: Callable[[], str] = lambda: MARK_KEY) -> None:
        self._state = state
        self._random = random
        self._key = key

    def current(self) -> bytes:
        key = self._key()
        mark = self._state.get(key)
        if mark is None:
            self._state.add(key, self._random(MARK_BYTES), MARK_LIFETIME)
            mark = self._state.get(key)
        if mark is None:
            raise StoreUnavailable("The state store does not keep its values.")
        return mark

    def advance(self) -> None:
        self._state.put(self._key(), self._random(MARK_BYTES), MARK_LIFETIME)


class CredentialStore(ABC):
    """Lasting credentials in the app's database; ``(kind, identifier)`` is unique.

    A rollback of the app's transaction undoes what :meth:`add` stored in it, whose user may have been stored
    in it as well. It does not undo what :meth:`replace` and :meth:`remove` did, and that takes effect before
    the transaction ends if the database allows it.
    """

    @abstractmethod
    def add(self, user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
        """Store a credential.

        Raises :class:`~asok_auth_core.errors.CredentialExists` on a clash.
        """

    @abstractmethod
    def find(self, kind: str, identifier: str) -> Credential | None:
        """The credential with this kind and identifier, or None."""

    def find_with_user(
        self, kind: str, identifier: str, users: UserDirectory
    ) -> tuple[Credential, User | None] | None:
        """Find a credential with its user (None if deleted); None if there is none.

        Called for every request with a session. A store in the users' database can read both at once.
        """
        found = self.find(kind, identifier)
        return None if found is None else (found, users.by_id(found.user_id))

    @abstractmethod
    def list(self, user_id: str, kind: str | None = None) -> Sequence[Credential]:
        """A user's credentials, oldest first; of one kind, or of all."""

    def newest(self, kind: str, limit: int) -> Sequence[Credential]:
        """Up to ``limit`` credentials of one kind, of all users, the last used first.

        For an operator's screens. A store that cannot tell returns none.
        """
        return ()

    def of_kind(self, kind: str, after: str = "", limit: int = 200) -> Sequence[Credential]:
        """Up to ``limit`` credentials of one kind, of all users, by identifier.

        Only those whose identifier comes after ``after`` in the store's own order. For ``asok-auth keys``;
        raises ConfigurationError if the store cannot tell.
        """
        raise ConfigurationError(
            f"{type(self).__name__} cannot list the credentials of all users: it has no method of_kind()."
        )

    @abstractmethod
    def replace(self, credential: Credential, data: JSON) -> Credential | None:
        """Compare and swap: the new row, or None if it was replaced since it was read."""

    @abstractmethod
    def remove(self, credential: Credential) -> bool:
        """Delete the credential: of any number of callers, exactly one gets True."""

    @abstractmethod
    def touch(self, credential: Credential, at: float) -> None:
        """Record a use at ``at`` (seconds since the epoch); does not change ``version``."""

    def installation(self, users: UserDirectory, random: Random) -> Installation:
        """The database's id, made once: all processes get the same one.

        An app with a database per tenant has an id per tenant. It is asked for with every operation
        on the state store: override this method to remember it, per database.
        """
        row = self.find(INSTALLATION, INSTALLATION)
        if row is None:
            data: JSON = {
                "id": b64url_encode(random(INSTALLATION_ID_BYTES)).decode(),
                "highest_user_id": users.highest_id(),
            }
            try:
                row = self.add(INSTALLATION, INSTALLATION, INSTALLATION, data)
            except CredentialExists:
                row = self.find(INSTALLATION, INSTALLATION)
        return _installation(row)

    def repeat_after_transaction(self, action: Callable[[], None]) -> None:
        """Call ``action`` when the calling thread's transaction has ended.

        For what must follow :meth:`remove` or :meth:`replace`, such as telling other workers: they may see
        the old row until then. Without an open transaction it is not called.
        """
        return


def _installation(row: Credential | None) -> Installation:
    if row is not None:
        match json.loads(row.data):
            case {"id": str(id_), "highest_user_id": int() | None as highest} if id_:
                return Installation(id_, highest)
    raise StoreUnavailable("The credential store does not keep the id of this database.")


class MailTransport(ABC):
    """Sends one mail, in the calling thread; several threads may send at once."""

    mailbox_path: ClassVar[str | None] = None
    """The page on which its mails can be read, for a transport for development; pages link to it in DEBUG."""

    @abstractmethod
    def send(self, mail: OutgoingMail) -> None:
        """Deliver ``mail`` or raise :class:`~asok_auth_core.errors.MailTemporary` or
        :class:`~asok_auth_core.errors.MailPermanent`. Must reject header injection and more than
        one recipient with :class:`~asok_auth_core.errors.EmailInvalid` or ``MailPermanent``."""

    def check(self) -> None:
        """Check, without sending a mail, that mail can be sent; for ``asok-auth doctor``.

        Raises what :meth:`send` would. A transport that cannot check does nothing.
        """
        return

    def close(self) -> None:
        """Close connections."""


@dataclass(frozen=True, slots=True)
class FrameworkFactor:
    """One user's authenticator app as the framework stores it, encrypted.

    ``backup_codes`` are hashes, ``salt$hash``; None if they are unreadable.
    """

    user_id: str
    sealed: str = field(repr=False)
    backup_codes: tuple[str, ...] | None = field(repr=False)


class FrameworkFactors(ABC):
    """The framework's own authenticator apps, for a second factor to import."""

    @abstractmethod
    def count(self) -> int:
        """The number of users with one."""

    @abstractmethod
    def all(self) -> Iterator[FrameworkFactor]:
        """One per user, ordered by user id. Rows may change during the iteration."""

    @abstractmethod
    def of(self, user: User) -> FrameworkFactor | None:
        """The user's authenticator app by their row, or None; no database access."""

    @abstractmethod
    def secret(self, factor: FrameworkFactor) -> str | None:
        """The secret in base32; None if no key decrypts it. Takes up to 0.2 s."""

    @abstractmethod
    def clear(self, factor: FrameworkFactor) -> None:
        """Remove it from the framework's storage, unless it changed since it was read."""


class UserDirectory(ABC):
    """The app's user model, as flows see it; provided by the adapter.

    Every method raises :class:`~asok_auth_core.errors.StoreUnavailable` if the app's database fails.
    """

    @abstractmethod
    def by_id(self, user_id: str) -> User | None: ...

    @abstractmethod
    def by_email(self, email: str) -> User | None: ...

    @abstractmethod
    def create(self, email: str, name: str | None = None) -> User:
        """Create an account.

        Raises :class:`~asok_auth_core.errors.AccountExists` if there is one with this email address.
        """

    @abstractmethod
    def email_of(self, user: User) -> str | None: ...

    @abstractmethod
    def is_active(self, user: User) -> bool:
        """False for a disabled account, such as one with ``is_active`` false."""

    def ids_alike(self, email: str) -> Sequence[str]:
        """The ids of all accounts with this email address in any case.

        Several are possible if the app compares email addresses exactly; :meth:`by_email` may then find none.
        """
        user = self.by_email(email)
        return () if user is None else (str(user.id),)

    def set_email(self, user: User, email: str) -> None:
        """Give the account of ``user`` another email address.

        Raises AccountExists if another account has it, ConfigurationError if addresses of this app cannot be
        changed, StoreUnavailable. Of several callers with one address, exactly one succeeds.
        """
        raise ConfigurationError("This app's user directory cannot change email addresses.")

    def set_up(self, user: User, *, name: str | None = None, roles: Sequence[str] = ()) -> None:
        """Give the account of ``user`` a name if it has none, and more ``roles``.

        Can be repeated. Raises ConfigurationError if the app has no such role or its accounts cannot have
        it, StoreUnavailable.
        """
        if roles:
            raise ConfigurationError("This app's user directory cannot give roles to accounts.")

    def known_roles(self) -> Sequence[str] | None:
        """The names of the app's roles; None if it keeps no list of them."""
        return None

    def set_active(self, user: User, active: bool) -> None:
        """Enable or disable the account of ``user``, as the app itself would.

        Raises ConfigurationError if accounts of this app cannot be disabled, StoreUnavailable.
        """
        raise ConfigurationError("This app's user directory cannot disable or enable accounts.")

    def remove(self, user: User) -> None:
        """Delete the account of ``user`` for good.

        Also where the app itself only marks it as deleted. What is kept about the user elsewhere is for
        ``remove_user``. Raises ConfigurationError if accounts of this app cannot be deleted,
        StoreUnavailable.
        """
        raise ConfigurationError("This app's user directory cannot delete accounts.")

    def check(self) -> Iterable[Finding]:
        """What makes accounts hard to find, for ``asok-auth doctor``."""
        return ()

    def model_name(self) -> str | None:
        """The name of the user model in the app's code, for ``asok-auth doctor``."""
        return None

    def highest_id(self) -> int | None:
        """The highest id of all accounts; 0 without any, None if ids are not numbers."""
        return None

    def has_password(self, user: User) -> bool:
        """True if ``user`` can log in with a password that the app keeps."""
        return False

    def clear_password(self, user: User) -> bool:
        """Make the password of ``user`` unusable; True if it is."""
        return False

    def framework_factors(self) -> FrameworkFactors | None:
        """The authenticator apps that the framework itself keeps, or None."""
        return None

    def grants(self) -> Iterable[Grant]:
        """The grants of the app's own roles as written there, for the doctor."""
        return ()


class LoginMethod(ABC):
    """A login method. ``name`` is its name under ``request.auth`` and in its paths."""

    name: ClassVar[str]
    order: ClassVar[int] = 100
    """Where its blocks stand on the login and account pages: lower numbers first. The providers' buttons
    have 50; methods with one number stand in the order in which their plugins were loaded."""
    account_group: ClassVar[AccountGroup] = "login"
    """The section of the account page that its block stands in."""

    def can_log_in(self, user: User) -> bool:
        """True if ``user`` could log in with this method today, without help.

        Asked before a user's login method is removed: the last one stays. Anything but True, and any
        exception, counts as False.
        """
        return False

    def routes(self) -> Iterable[Route]:
        """Its pages; by convention below ``/auth/<name>/``."""
        return ()

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup | None:
        """Its button or form on the login page, or None.

        ``problem`` is why the form in ``request`` was rejected, if this method called
        :func:`~asok_auth_core.pages.login_page.login_page` with it: show its text
        (:func:`~asok_auth_core.pages.problems.error_text`) next to the field, and keep what was typed, but
        no password.
        """
        return None

    def account_block(self, request: WebRequest) -> Markup | None:
        """Its block on the account page of ``request.user``, or None.

        Start it with an ``<h3>``.
        """
        return None

    def buttons(self, request: WebRequest, next_url: str | None = None) -> Markup:
        """Its buttons for an app's own page, leading to ``next_url`` after the login.

        The caller has checked ``next_url``. Empty if the method has no buttons.
        """
        return Markup()

    def allows_redirect(self, url: str) -> bool:
        """True if the app may redirect a browser to ``url`` on another host to log in.

        Everything else that leaves the app's own host is rejected. Compare whole origins and paths,
        never prefixes.
        """
        return False

    def form_action_origins(self) -> Sequence[str]:
        """Origins (``https://login.example``) that its forms may redirect to.

        They go into ``form-action`` of the app's Content-Security-Policy when the app starts.
        """
        return ()

    def authenticate(self, request: WebRequest) -> Authentication | None:
        """The user that the request itself authenticates (by a bearer token), or None.

        Called when a request's user is first needed, before the session is read. Raises
        :class:`~asok_auth_core.errors.AuthError` if there is a credential and it is invalid: then no
        user is logged in, whatever the session says. Anything but an Authentication or None is an
        error and logs nobody in.
        """
        return None

    @property
    def api(self) -> object | None:
        """The object behind ``request.auth.<name>``.

        Its public methods take the request first. The adapter passes them a
        :class:`~asok_auth_core.web.WebRequest` and adds an awaitable twin of each, such as ``asend``
        for ``send``.
        """
        return None


RESERVED_FACTORS = frozenset({"admin_totp", "trusted_device"})
"""Names in session records that are not those of a plugin's second factor."""


class SecondFactor(ABC):
    """A second factor. ``name`` is used in paths; ``label`` is shown to users."""

    name: ClassVar[str]
    label: ClassVar[str]
    enrol_path: ClassVar[str | None] = None
    """The page on which a user sets it up, or None. Where a second factor is required, a user without
    one is sent there before the login is complete: the page gets the user from
    :func:`~asok_auth_core.flows.second_factor.enrolling_user` and ends in
    :func:`~asok_auth_core.flows.second_factor.complete_enrolment`."""
    backup: ClassVar[bool] = False
    """True if it only stands in for another factor, as a recovery code does: a user who has nothing else
    has no second factor."""
    account_group: ClassVar[AccountGroup] = "security"
    """The section of the account page that its block stands in."""

    def is_imported(self, user: User) -> bool:
        """True if an operator imported this factor of ``user`` from another system.

        When an account is voided, because its email address is verified for the first time, imported
        factors stay; anything but False counts as True.
        """
        return False

    def waits_for_import(self, user: User) -> bool:
        """True if :meth:`run_import` has yet to import this factor of ``user``.

        Such a user can give a recovery code. Anything but True counts as False.
        """
        return False

    def run_import(self, user: User) -> None:
        """Import what :meth:`waits_for_import` reports; do nothing if there is nothing.

        Called before a recovery code is checked and before new ones are made. An exception denies both.
        """
        return

    @abstractmethod
    def is_enrolled(self, user: User) -> bool:
        """True if this user must give this factor; anything but False counts as True.

        An exception denies the login. Once the core knows that a user has this factor, it is needed until
        :func:`~asok_auth_core.flows.second_factor.remove_factor`, whatever this method says.
        """

    @abstractmethod
    def reset(self, user: User) -> None:
        """Remove all data of this factor for ``user``, who is then not enrolled.

        Called by the core when the factor is removed, by its user or an operator.
        """

    def begin(self, request: WebRequest, user: User) -> None:
        """Send a code, make a nonce: called when a login first shows the challenge.

        Showing it again does not call this again, HEAD never does. A factor that overrides this gets
        a button with which the user asks for it again. The caller limits all of it, per account and
        per client IP.
        """
        return

    @abstractmethod
    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        """The form fields of the challenge, without ``<form>`` and the button.

        ``problem`` says, in the user's language, why the proof in ``request`` was rejected. The page
        shows it; mark the field as invalid.
        """

    @abstractmethod
    def verify(self, request: WebRequest, user: User) -> bool:
        """True if the submitted form proves the factor. Must accept each proof only once.

        Anything but True rejects, and so does :class:`~asok_auth_core.errors.CredentialRejected`, whose
        message is shown to the user. The caller limits attempts, per account and per client IP.
        """

    def routes(self) -> Iterable[Route]:
        """Pages to enroll and manage it; by convention below ``/auth/<name>/``."""
        return ()

    def account_block(self, request: WebRequest) -> Markup | None:
        """Its block on the account page of ``request.user``, or None.

        Start it with an ``<h3>``.
        """
        return None

    @property
    def api(self) -> object | None:
        """The object behind ``request.auth.<name>``; as for :class:`LoginMethod`."""
        return None


class SealedValues(ABC, Generic[V]):
    """Lasting values that need a secret key, for ``asok-auth keys``.

    :class:`~asok_auth_core.stores.sealed_rows.SealedRows` is for rows of the credential store; implement this
    for a table of your own. Entries of the state store expire by themselves and are none of them.
    """

    label: ClassVar[str]
    """What they are, in the plural, such as "authenticator apps"."""

    @abstractmethod
    def all(self) -> Iterator[V]:
        """Every value, of all users. Values may change during the iteration."""

    @abstractmethod
    def user_id(self, value: V) -> str:
        """The id of the user that ``value`` belongs to."""

    @abstractmethod
    def is_readable(self, value: V, keys: KeyRing) -> bool:
        """True if ``value`` can be used with no other keys than ``keys``.

        Looks at the key's id (:meth:`~asok_auth_core.engine.sealing.Sealer.has_key`); decrypts nothing. If
        it raises, ``value`` counts as needing every key.
        """

    @abstractmethod
    def reseal(self, value: V) -> bool:
        """Seal ``value`` with the newest key; False if it is gone, or sealed already.

        Workers and other commands may change it at any moment: in one step, by compare and swap, so that
        no change of theirs is lost. Raises SealError if no key opens it, StoreUnavailable.
        """


class SignUpStep(ABC):
    """A step that newcomers take before their account exists, with any login method.

    The core shows it on a page of its own, after ``asok_auth_before_login`` admitted the newcomer, and opens
    the account once every step is taken; then policies are asked again. If a method raises, no account is
    opened.
    """

    name: ClassVar[str]

    def is_needed(self, attempt: LoginAttempt) -> bool:
        """False if the newcomer of ``attempt`` need not take it. Anything else: needed."""
        return True

    @abstractmethod
    def heading(self, request: WebRequest) -> str:
        """The heading of the page, in the user's language."""

    @abstractmethod
    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        """What the form shows above its button, without ``<form>``.

        ``problem`` is why :meth:`check` rejected it, in the user's language: show it next to the field.
        """

    @abstractmethod
    def check(self, request: WebRequest, newcomer: Newcomer) -> JSON:
        """Check the form in ``request``; return the answer to :meth:`keep`.

        Keep nothing yet. Raise CredentialRejected with a text for the user if the form will not do: it is
        shown again.
        """

    @abstractmethod
    def keep(self, user: User, answer: JSON) -> None:
        """Store the answer for the new account of ``user``, which was just created.

        If it raises, the login fails and the account is removed again.
        """


class AccountSection(ABC):
    """A block on the account page of a plugin that is no method or factor."""

    name: ClassVar[str]
    account_group: ClassVar[AccountGroup] = "data"
    """The section of the account page that it stands in."""

    @abstractmethod
    def account_block(self, request: WebRequest) -> Markup | None:
        """The block for ``request.user``, or None. Start it with an ``<h3>``.

        If it raises, the block is left out and the event ``plugin.failed`` tells of it.
        """
