"""The parts of one app's authentication, assembled once at startup."""

from __future__ import annotations

import secrets as system_random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .contracts import (
    AccountSection,
    CredentialStore,
    LoginMethod,
    SealedValues,
    SecondFactor,
    SignUpStep,
    StateStore,
    UserDirectory,
)
from .engine.keys import KeyRing
from .engine.permissions import PermissionSet
from .engine.signers import SIGNERS, SignerFactory
from .errors import ConfigurationError
from .events import Events
from .limits import Limits
from .mail.outbox import Outbox
from .settings import Settings
from .types import JSON, Clock, Finding, Installation, LoginAttempt, PluginInfo, Random, User
from .web import Route, WebRequest

if TYPE_CHECKING:
    import typer
    from jinja2 import Environment

    from .providers import OAuth2Provider

T = TypeVar("T")

Translator = Callable[[str, str, Mapping[str, str | int]], str]
"""``(language, message, values)`` to the text in that language, with its placeholders filled in."""

HookErrorHandler = Callable[[str, Exception], None]
"""Called with the plugin's name and the exception it raised."""


class PluginHooks(Protocol):
    """Calls that reach all plugins; :mod:`~asok_auth_core.plugins` has them."""

    @property
    def infos(self) -> tuple[PluginInfo, ...]: ...

    def permissions(self, user: User, on_error: HookErrorHandler) -> Iterator[tuple[str, PermissionSet]]: ...

    def denies(
        self, user: User, permission: str, resource: object | None, on_error: HookErrorHandler
    ) -> tuple[str, str] | None: ...

    def before_login(self, attempt: LoginAttempt, on_error: HookErrorHandler) -> tuple[str, str] | None: ...

    def export_user(
        self, auth: Auth, user: User, on_error: HookErrorHandler
    ) -> dict[str, dict[str, JSON]]: ...

    def remove_user(self, auth: Auth, user: User, on_error: HookErrorHandler) -> None: ...

    def checks(self, auth: Auth) -> Iterator[Finding]: ...

    def sealed_values(self, auth: Auth) -> list[SealedValues[Any]]: ...

    def owner(self, hook: str, name: str) -> str: ...

    def start(self, auth: Auth) -> None: ...

    def stop(self, auth: Auth) -> None: ...

    def commands(self, cli: typer.Typer, on_error: Callable[[str, BaseException], None]) -> None: ...


@dataclass(slots=True, repr=False)
class Auth:
    """Everything a flow or plugin needs; ``clock`` and ``random`` are passed in."""

    settings: Settings
    plugins: PluginHooks
    events: Events
    keys: KeyRing
    state: StateStore
    credentials: CredentialStore
    users: UserDirectory
    outbox: Outbox
    limits: Limits
    templates: Environment
    clock: Clock = time.time
    random: Random = system_random.token_bytes
    signers: Mapping[str, SignerFactory] = field(default_factory=lambda: SIGNERS)
    """Token signers by algorithm name, from all plugins."""
    providers: dict[str, OAuth2Provider] = field(default_factory=dict)
    login_methods: dict[str, LoginMethod] = field(default_factory=dict)
    second_factors: dict[str, SecondFactor] = field(default_factory=dict)
    sign_up_steps: dict[str, SignUpStep] = field(default_factory=dict)
    account_sections: dict[str, AccountSection] = field(default_factory=dict)
    routes: tuple[tuple[str, Route], ...] = ()
    """What ``asok_auth_routes`` returned, each with the plugin that did, for messages."""
    packages: tuple[str, ...] = ()
    """The plugins' packages: where their ``templates`` and ``locales`` folders are."""
    faults: set[str] = field(default_factory=set)
    """Faults of plugins that were logged already."""
    find_request: Callable[[], WebRequest | None] = lambda: None
    """The framework's current request; see ``current_request``."""
    translator: Translator = lambda language, message, values: message.format(**values)
    """See :meth:`translate`."""

    def installation(self) -> Installation:
        """The database of the app or tenant: its id, and its first highest user id."""
        return self.credentials.installation(self.users, self.random)

    def translate(self, language: str, message: str, /, **values: str | int) -> str:
        """``message`` in ``language``, such as ``fr``.

        For mails that are not about the current request. ``{name}`` placeholders are filled in. English, if
        there is no translation.
        """
        return self.translator(language, message, values)

    def api(self, kind: type[T]) -> T:
        """The API of class ``kind``, as in ``auth.api(TokenApi)``.

        It is what ``request.auth.<name>`` wraps; its methods take the request first. Raises
        ConfigurationError if no loaded plugin offers one.
        """
        for offered in (
            *(method.api for method in self.login_methods.values()),
            *(factor.api for factor in self.second_factors.values()),
        ):
            if isinstance(offered, kind):
                return offered
        raise ConfigurationError(
            f"No login method or second factor of this app offers {kind.__name__}. Install its plugin, or "
            "see asok-auth plugins."
        )

    def __repr__(self) -> str:
        return f"<Auth of {self.settings.app_name!r}>"
