"""Calls the hooks of one app's plugins, each with its failure policy.

Every call reaches one plugin at a time, so one that raises costs only its own result. The policies
are stated in :mod:`asok_auth_core.hookspecs`.
"""

from __future__ import annotations

import keyword
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

from . import hookspecs
from .auth import Auth, HookErrorHandler
from .contracts import (
    RESERVED_FACTORS,
    AccountSection,
    LoginMethod,
    MailTransport,
    SealedValues,
    SecondFactor,
    Signer,
    SignUpStep,
    StateStore,
)
from .engine.coroutines import NeverAwaited, reject_coroutines
from .engine.permissions import PermissionSet, compile_grants
from .engine.signatures import SignatureInvalid, reject_signatures
from .errors import AuthError, ConfigurationError
from .providers import OAuth2Provider, OpenIDProvider
from .registry import CORE, PluginRegistry
from .settings import Settings
from .types import JSON, Event, Finding, LoginAttempt, PluginInfo, User
from .web import Route

if TYPE_CHECKING:
    import typer

logger = logging.getLogger("asok_auth")

ATTRIBUTE = re.compile("[a-z][a-z0-9_]*")
UNCHECKED = "This could not be checked just now."
NO_REASON = "A policy of this app does not allow it."


class Named(Protocol):
    @property
    def name(self) -> str: ...


P = ParamSpec("P")
T = TypeVar("T")
NamedT = TypeVar("NamedT", bound=Named)
Given = TypeVar("Given")


class Plugins:
    """Calls the hooks of the plugins in ``registry``."""

    def __init__(self, registry: PluginRegistry) -> None:
        self.registry = registry
        self.auth: Auth | None = None
        """What policies and observers are called with; set when it is built."""
        self._owners: dict[tuple[str, str], str] = {}
        self._started = False

    @property
    def infos(self) -> tuple[PluginInfo, ...]:
        """Every plugin that was found, loaded or not, by name."""
        return self.registry.infos

    # -- registration hooks ----------------------------------------------------------------------

    def providers(self, settings: Settings) -> dict[str, OAuth2Provider]:
        """Providers by name."""
        return self._gather(
            hookspecs.asok_auth_providers,
            _each(_providers_by_name, OAuth2Provider, OpenIDProvider),
            settings=settings,
        )

    def signers(self, settings: Settings) -> dict[str, Callable[[bytes], Signer]]:
        """Signer factories by JWS algorithm; they raise ConfigurationError."""
        hook = hookspecs.asok_auth_signers
        found = self._gather(hook, _items, settings=settings)
        return {name: self._signer_factory(name, factory) for name, factory in found.items()}

    def _signer_factory(self, name: str, factory: Callable[[bytes], Signer]) -> Callable[[bytes], Signer]:
        where = f"The factory of the token signer {name!r}"

        def make(material: bytes) -> Signer:
            owner = self.owner(hookspecs.asok_auth_signers.__name__, name)
            return made_by_plugin(lambda: factory(material), Signer, f"{where} of {owner}")

        return make

    def mail_transports(self, settings: Settings) -> dict[str, Callable[[], MailTransport]]:
        """Mail transport factories by name."""
        return self._gather(hookspecs.asok_auth_mail_transports, _items, settings=settings)

    def state_stores(self, settings: Settings) -> dict[str, Callable[[str], StateStore]]:
        """State store factories by URL scheme."""
        return self._gather(hookspecs.asok_auth_state_stores, _items, settings=settings)

    def login_methods(self, auth: Auth) -> dict[str, LoginMethod]:
        """Login methods by name."""
        return self._gather(
            hookspecs.asok_auth_login_methods, _each(_methods_by_name, LoginMethod), auth=auth
        )

    def second_factors(self, auth: Auth) -> dict[str, SecondFactor]:
        """Second factors by name. Raises ConfigurationError if a plugin raises."""
        hook = hookspecs.asok_auth_second_factors
        factors = self._gather(hook, _each(_factors_by_name, SecondFactor), auth=auth)
        for name in factors:
            plugin = self._owners[(hook.__name__, name)]
            other = self._owners.get((hookspecs.asok_auth_login_methods.__name__, name), plugin)
            if other != plugin:
                owner = self.registry.described(other)
                reason = f"its second factor {name!r} has the name of a login method of {owner}"
                self.registry.quarantine(plugin, reason)
        return factors

    def sign_up_steps(self, auth: Auth) -> dict[str, SignUpStep]:
        """Sign-up steps by name. Raises ConfigurationError if a plugin raises."""
        return self._gather(hookspecs.asok_auth_sign_up_steps, _each(_by_name, SignUpStep), auth=auth)

    def account_sections(self, auth: Auth) -> dict[str, AccountSection]:
        """Blocks of the account page that belong to no method or factor, by name."""
        return self._gather(hookspecs.asok_auth_account_sections, _each(_by_name, AccountSection), auth=auth)

    def routes(self, auth: Auth) -> Iterator[tuple[str, Route]]:
        """Each route with its plugin. Raises ConfigurationError if one raises."""
        hook = hookspecs.asok_auth_routes
        for plugin, call in self.registry.callers(hook):
            with self._stopping_the_start(plugin, hook.__name__):
                given = [route for result in call(auth=auth) for route in result or ()]
                for route in given:
                    if not isinstance(route, Route):
                        raise TypeError(f"it returned {type(route).__name__}, not Route")
            yield from ((self.registry.described(plugin), route) for route in given)

    def owner(self, hook: str, name: str) -> str:
        """The plugin whose ``hook`` returned ``name``, for messages."""
        plugin = self._owners.get((hook, name))
        return "the app" if plugin is None else self.registry.described(plugin)

    @contextmanager
    def _stopping_the_start(self, plugin: str, hook: str) -> Iterator[None]:
        """Turn whatever is raised into a ConfigurationError that names ``plugin``."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise ConfigurationError(
                f"{hook} of {self.registry.described(plugin)} raised {type(error).__name__}: {error}. Fix, "
                "upgrade or uninstall the plugin.",
                code="plugin",
            ) from error

    def _gather(
        self,
        hook: Callable[P, Given | None],
        pairs: Callable[[Given], Iterable[tuple[str, T]]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> dict[str, T]:
        """What plugins return, by name; one that raises or clashes is quarantined.

        Raises ConfigurationError for a plugin that the app must not start without.
        """
        merged: dict[str, T] = {}
        owners: dict[str, str] = {}
        for plugin, call in self.registry.callers(hook):
            try:
                given = [
                    pair for result in call(*args, **kwargs) if result is not None for pair in pairs(result)
                ]
            except _NameInvalid as error:
                self.registry.quarantine(plugin, f"{hook.__name__} returns {error}")
                continue
            except SignatureInvalid as error:
                self.registry.quarantine(plugin, error.message)
                continue
            except NeverAwaited as error:
                self.registry.quarantine(plugin, error.message, never_awaited=True)
                continue
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                if plugin == CORE and isinstance(error, ConfigurationError):
                    raise  # it is not the core that is at fault, but what it was given
                reason = f"{hook.__name__} raised {type(error).__name__}: {error}"
                self.registry.quarantine(plugin, reason)
                continue
            names = [name for name, _ in given]
            clash = next((name for name in names if name in merged or names.count(name) > 1), None)
            if clash is not None:
                owner = self.registry.described(owners.get(clash, plugin))
                reason = f"{hook.__name__} returns {clash!r}, which {owner} returns already"
                self.registry.quarantine(plugin, reason)
                continue
            merged.update(given)
            owners.update(dict.fromkeys(names, plugin))
        self._owners.update({(hook.__name__, name): plugin for name, plugin in owners.items()})
        return merged

    # -- lifetime hooks --------------------------------------------------------------------------

    def start(self, auth: Auth) -> None:
        """Tell every plugin that the app is built.

        Raises ConfigurationError if one raises, after the others were told to stop.
        """
        self._started = True
        hook = hookspecs.asok_auth_start
        for plugin, call in self.registry.callers(hook):
            try:
                with self._stopping_the_start(plugin, hook.__name__):
                    call(auth=auth)
            except BaseException:
                self.stop(auth)
                raise

    def stop(self, auth: Auth) -> None:
        """Tell every plugin, in reverse order, that the app ends; errors are logged."""
        started, self._started = self._started, False
        for plugin, call in reversed(self.registry.callers(hookspecs.asok_auth_stop)) if started else ():
            try:
                call(auth=auth)
            except (Exception, SystemExit):  # the others still need their turn
                logger.exception("Plugin %r failed to stop.", plugin)

    # -- request hooks ---------------------------------------------------------------------------

    def permissions(self, user: User, on_error: HookErrorHandler) -> Iterator[tuple[str, PermissionSet]]:
        """``(plugin, grants)`` of every plugin; one that raises grants nothing."""
        for plugin, call in self.registry.callers(hookspecs.asok_auth_permissions):
            try:
                given = [
                    result if isinstance(result, PermissionSet) else compile_grants(result)
                    for result in call(user=user)
                    if result is not None
                ]
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                on_error(plugin, error)
            else:
                yield from ((plugin, grants) for grants in given)

    def denies(
        self, user: User, permission: str, resource: object | None, on_error: HookErrorHandler
    ) -> tuple[str, str] | None:
        """``(plugin, reason)`` of the first denial, or None. A plugin that raises denies."""
        return self._first_reason(
            hookspecs.asok_auth_denies, on_error, user=user, permission=permission, resource=resource
        )

    def before_login(self, attempt: LoginAttempt, on_error: HookErrorHandler) -> tuple[str, str] | None:
        """``(plugin, reason)`` of the first rejection; a plugin that raises rejects."""
        return self._first_reason(
            hookspecs.asok_auth_before_login, on_error, attempt=attempt, auth=cast("Auth", self.auth)
        )

    def _first_reason(
        self,
        hook: Callable[P, str | None],
        on_error: HookErrorHandler,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[str, str] | None:
        for plugin, call in self.registry.callers(hook):
            try:
                reasons = call(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                on_error(plugin, error)
                return plugin, UNCHECKED
            for reason in reasons:
                if isinstance(reason, str):
                    return plugin, reason.strip() or NO_REASON
                on_error(plugin, TypeError(f"It returned {type(reason).__name__}, not a reason or None."))
                return plugin, UNCHECKED
        return None

    def event(self, event: Event) -> None:
        """Notify every observer; one that raises is logged and changes nothing."""
        for plugin, call in self.registry.callers(hookspecs.asok_auth_event):
            try:
                call(event=event, auth=cast("Auth", self.auth))
            except Exception:  # observers never break what they observe
                logger.exception("Plugin %r failed on event %s.", plugin, event.name)

    def export_user(self, auth: Auth, user: User, on_error: HookErrorHandler) -> dict[str, dict[str, JSON]]:
        """What each plugin keeps about ``user``, by plugin; one that raises is reported."""
        found: dict[str, dict[str, JSON]] = {}
        for plugin, call in self.registry.callers(hookspecs.asok_auth_export_user):
            try:
                for given in call(auth=auth, user=user):
                    found.setdefault(plugin, {}).update(given or {})
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                on_error(plugin, error)
        return found

    def remove_user(self, auth: Auth, user: User, on_error: HookErrorHandler) -> None:
        """Let every plugin delete its data about ``user``; errors are reported."""
        for plugin, call in self.registry.callers(hookspecs.asok_auth_remove_user):
            try:
                call(auth=auth, user=user)
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                on_error(plugin, error)

    # -- tools -----------------------------------------------------------------------------------

    def checks(self, auth: Auth) -> Iterator[Finding]:
        """Findings of every plugin; one that raises becomes a finding."""
        for plugin, call in self.registry.callers(hookspecs.asok_auth_checks):
            try:
                yield from [finding for result in call(auth=auth) for finding in result or ()]
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the hook's failure policy
                yield Finding(
                    plugin, "error", f"its check raised {type(error).__name__}: {error}", "Fix the plugin."
                )

    def sealed_values(self, auth: Auth) -> list[SealedValues[Any]]:
        """What secret keys protect. ConfigurationError names a plugin that raises."""
        found: list[SealedValues[Any]] = []
        for plugin, call in self.registry.callers(hookspecs.asok_auth_sealed_values):
            try:
                given = [values for result in call(auth=auth) for values in result or ()]
                for values in given:
                    if not isinstance(values, SealedValues):
                        raise TypeError(f"it returned {type(values).__name__}, not SealedValues")
                    _reject_misfits(values, SealedValues)
            except (Exception, SystemExit) as error:
                raise ConfigurationError(
                    f"{self.registry.described(plugin)} cannot say which of its values need a secret key: "
                    f"{type(error).__name__}: {error}. Fix, upgrade or uninstall it.",
                    code="plugin",
                ) from error
            found += given
        return found

    def commands(self, cli: typer.Typer, on_error: Callable[[str, BaseException], None]) -> None:
        """Let every plugin add its subcommands; errors and clashes are reported."""
        owners = dict.fromkeys(_names_of_commands(cli), "the core")
        for plugin, call in self.registry.callers(hookspecs.asok_auth_commands):
            commands, groups = list(cli.registered_commands), list(cli.registered_groups)
            before = _names_of_commands(cli)
            try:
                call(cli=cli)
                names = _names_of_commands(cli) - before
                if taken := next((name for name in names if name in owners or names[name] > 1), None):
                    owner = owners.get(taken, self.registry.described(plugin))
                    raise ConfigurationError(f"The command {taken!r} is one of {owner} already.")
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the hook's failure policy
                cli.registered_commands[:], cli.registered_groups[:] = commands, groups
                on_error(plugin, error)
            else:
                owners.update(dict.fromkeys(names, self.registry.described(plugin)))


def _names_of_commands(cli: typer.Typer) -> Counter[str]:
    """The names of the commands and groups of ``cli``."""
    names = [
        *(one.name or getattr(one.callback, "__name__", "") for one in cli.registered_commands),
        *(one.name or getattr(one.typer_instance, "info", one).name for one in cli.registered_groups),
    ]
    return Counter(str(name).replace("_", "-") for name in names)


class _NameInvalid(Exception):
    """A name that cannot be an attribute of ``request.auth``."""


def _items(given: Mapping[str, T]) -> Iterable[tuple[str, T]]:
    return given.items()


def _each(
    pairs: Callable[[Iterable[NamedT]], Iterable[tuple[str, NamedT]]], contract: type, *further: type
) -> Callable[[Iterable[NamedT]], Iterable[tuple[str, NamedT]]]:
    """As ``pairs``, for parts that can be called as ``contract`` says.

    So it is with the ``further`` contracts that a part inherits. Raises NeverAwaited, SignatureInvalid,
    TypeError.
    """

    def checked(given: Iterable[NamedT]) -> Iterable[tuple[str, NamedT]]:
        parts = list(given)
        for part in parts:
            if isinstance(part, type):
                raise TypeError(f"it returned the class {part.__name__}; return an instance of it")
            if not isinstance(part, contract):
                raise TypeError(f"it returned {type(part).__name__}, not {contract.__name__}")
            for one in (contract, *further):
                if isinstance(part, one):
                    _reject_misfits(part, one)
        return pairs(parts)

    return checked


def _reject_misfits(part: object, contract: type) -> None:
    """Raise NeverAwaited or SignatureInvalid if ``part`` does not fit ``contract``."""
    reject_coroutines(part, contract)
    reject_signatures(part, contract)


def made_by_plugin(make: Callable[[], T], contract: type, where: str) -> T:
    """Call a plugin's factory. Raises ConfigurationError if it makes no ``contract``.

    AuthError of the factory, such as a SettingError that says what is missing, stays as it is.
    """
    try:
        made = make()
    except (AuthError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ConfigurationError(
            f"{where} raised {type(error).__name__}: {error}. Fix, upgrade or uninstall the plugin.",
            code="plugin",
        ) from error
    if not isinstance(made, contract):
        raise ConfigurationError(
            f"{where} returned {type(made).__name__}, not {contract.__name__}. Fix, upgrade or uninstall the "
            "plugin.",
            code="plugin",
        )
    try:
        _reject_misfits(made, contract)
    except (NeverAwaited, SignatureInvalid) as error:
        raise ConfigurationError(
            f"{where} returned an unusable {contract.__name__}: {error.message}. Fix, upgrade or uninstall "
            "the plugin.",
            code="plugin",
        ) from error
    return made


def _by_name(given: Iterable[NamedT]) -> Iterable[tuple[str, NamedT]]:
    return [(item.name, item) for item in given]


def _providers_by_name(given: Iterable[OAuth2Provider]) -> Iterable[tuple[str, OAuth2Provider]]:
    """As :func:`_by_name`. Raises TypeError for an unusable provider."""
    pairs = list(_by_name(given))
    for name, provider in pairs:
        scopes: object = provider.scopes
        if isinstance(scopes, str):
            raise TypeError(f"scopes of the provider {name!r} is a text; write a tuple of texts")
        if type(provider).identity is OAuth2Provider.identity:
            raise TypeError(f"the provider {name!r} has no method identity()")
    return pairs


def _by_attribute_name(given: Iterable[NamedT]) -> Iterable[tuple[str, NamedT]]:
    """As :func:`_by_name`, for names that follow ``request.auth.`` and ``/auth/``."""
    pairs = [(item.name, item) for item in given]
    for name, _ in pairs:
        if not (isinstance(name, str) and ATTRIBUTE.fullmatch(name)) or keyword.iskeyword(name):
            raise _NameInvalid(
                f"the name {name!r}, which cannot follow request.auth.: use lowercase letters, digits and "
                "_, start with a letter, and avoid Python's keywords"
            )
    return pairs


def _methods_by_name(given: Iterable[LoginMethod]) -> Iterable[tuple[str, LoginMethod]]:
    """As :func:`_by_attribute_name`.

    Raises TypeError for a method that pages could not put in order.
    """
    pairs = list(_by_attribute_name(given))
    for name, method in pairs:
        order: object = method.order
        if not isinstance(order, int):
            raise TypeError(f"order of the login method {name!r} is {order!r}, not a whole number")
    return pairs


def _factors_by_name(given: Iterable[SecondFactor]) -> Iterable[tuple[str, SecondFactor]]:
    """As :func:`_by_attribute_name`.

    Raises TypeError for a factor that the pages could not show.
    """
    pairs = list(_by_attribute_name(given))
    for name, factor in pairs:
        label: object = getattr(factor, "label", None)
        if not (isinstance(label, str) and label.strip()):
            raise TypeError(f"the factor {name!r} has no label; set label to the name that users see")
        path: object = factor.enrol_path
        if path is not None and not (isinstance(path, str) and path.startswith("/")):
            raise TypeError(f"enrol_path of the factor {name!r} is {path!r}; write a path or None")
        backup: object = factor.backup
        if backup is not True and backup is not False:
            raise TypeError(f"backup of the factor {name!r} is neither True nor False")
        if name in RESERVED_FACTORS:
            raise _NameInvalid(f"the name {name!r}, which session records use themselves: choose another one")
    return pairs
