"""Finds plugins, checks them, keeps broken ones out, and calls their hooks.

pluggy does the calling; this facade adds types and the failure policies of
:mod:`asok_auth_core.hookspecs`. Every hook call goes to one plugin at a time, so that one that
raises costs only its own result.
"""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Literal, TypeVar

import pluggy
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from . import hookspecs
from .contracts import LoginMethod, MailTransport, SecondFactor, Signer, StateStore
from .engine.permissions import PermissionSet, compile_grants
from .errors import PluginError
from .hookspecs import API_VERSION, GROUP, PluginManifest
from .settings import Settings
from .types import Event, Finding, LoginAttempt, User

if TYPE_CHECKING:
    import typer

    from .flows.auth import Auth
    from .providers import OAuth2Provider

logger = logging.getLogger("asok_auth")

HOOKS = tuple(sorted(name for name in vars(hookspecs) if name.startswith("asok_auth_")))
GUARDS = frozenset({"asok_auth_second_factors", "asok_auth_denies", "asok_auth_before_login"})
"""Hooks that refuse: a plugin that has one is never dropped silently."""

State = Literal["loaded", "disabled", "quarantined"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """What ``asok-auth plugins`` shows of one plugin. ``reason`` says why it is not loaded."""

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()
    state: State = "loaded"
    reason: str = ""


class Plugins:
    """The plugins of one app."""

    def __init__(self, *, strict: bool = False, allow: Sequence[str] | None = None) -> None:
        self._strict = strict
        self._allow = None if allow is None else frozenset(allow)
        self._infos: dict[str, PluginInfo] = {}
        self._manifests: dict[str, PluginManifest] = {}
        self._cached: dict[str, list[tuple[str, Callable[..., list[object]]]]] = {}
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)

    # -- finding and checking --------------------------------------------------------------------

    @property
    def infos(self) -> tuple[PluginInfo, ...]:
        """Every plugin that was found, loaded or not, by name."""
        return tuple(sorted(self._infos.values(), key=lambda info: info.name))

    @property
    def manifests(self) -> tuple[PluginManifest, ...]:
        """The manifests of the loaded plugins."""
        return tuple(self._manifests.values())

    @property
    def quarantined(self) -> tuple[PluginInfo, ...]:
        """The plugins that were kept out because they are broken."""
        return tuple(info for info in self.infos if info.state == "quarantined")

    def discover(self, entry_points: Iterable[metadata.EntryPoint] | None = None) -> None:
        """Load the installed plugins of entry point group ``asok_auth``, one at a time.

        Raises PluginError in strict mode for the first that is broken.
        """
        found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        for entry in sorted(found, key=lambda e: (e.name, e.value)):
            info = PluginInfo(
                entry.name, entry.dist.name if entry.dist else "", entry.dist.version if entry.dist else ""
            )
            if entry.name in self._infos:
                other = self._infos[entry.name]
                self._keep_out(
                    replace(info, name=f"{entry.name} ({info.distribution or entry.value})"),
                    f"the name {entry.name!r} is taken by {other.distribution or 'another plugin'}; "
                    "rename one of the two entry points",
                )
            elif self._allow is not None and not self._allow & {info.name, info.distribution}:
                self._infos[info.name] = replace(
                    info, state="disabled", reason='not listed in AUTH["PLUGINS"]'
                )
            else:
                try:
                    plugin = entry.load()
                except Exception as error:
                    self._keep_out(info, f"it cannot be imported: {type(error).__name__}: {error}")
                else:
                    self._register(plugin, info)
        missing = sorted(
            (self._allow or frozenset())
            - {name for info in self._infos.values() for name in (info.name, info.distribution)}
        )
        for name in missing:
            self._keep_out(PluginInfo(name), 'it is listed in AUTH["PLUGINS"] but not installed')

    def register(self, plugin: object, name: str | None = None) -> None:
        """Add a plugin by hand. Its name defaults to the module's or class's.

        Raises PluginError in strict mode if it is broken.
        """
        name = name or getattr(plugin, "__name__", None) or type(plugin).__name__
        if name in self._infos:
            self._keep_out(PluginInfo(f"{name} (again)"), f"the name {name!r} is taken by another plugin")
        else:
            self._register(plugin, PluginInfo(name))

    def _register(self, plugin: object, info: PluginInfo) -> None:
        info = replace(info, hooks=tuple(hook for hook in HOOKS if hasattr(plugin, hook)))
        manifest = getattr(plugin, "asok_auth_plugin", PluginManifest())
        if problem := _problem(plugin, info, manifest):
            self._keep_out(info, problem)
            return
        try:
            self.manager.register(plugin, info.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            self._unregister(info.name)
            self._keep_out(info, _first_line(error))
        else:
            self._cached.clear()
            self._infos[info.name] = info
            self._manifests[info.name] = manifest

    def _keep_out(self, info: PluginInfo, reason: str) -> None:
        """Quarantine. Raises PluginError in strict mode, or if the plugin could refuse something."""
        self._unregister(info.name)
        self._manifests.pop(info.name, None)
        self._infos[info.name] = replace(info, state="quarantined", reason=reason)
        message = f"Plugin {info.name!r} is not used: {reason}."
        guards = sorted(GUARDS.intersection(info.hooks))
        if guards:
            raise PluginError(
                f"{message} It implements {', '.join(guards)}, so going on without it would let "
                "through what it may refuse. Repair or uninstall it."
            )
        if self._strict:
            raise PluginError(message)
        logger.error("%s", message)

    def _unregister(self, name: str) -> None:
        self._cached.clear()
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)

    # -- registration hooks ----------------------------------------------------------------------

    def providers(self, settings: Settings) -> dict[str, OAuth2Provider]:
        """Providers by name."""
        return self._named("asok_auth_providers", lambda item: item.name, settings=settings)

    def signers(self, settings: Settings) -> dict[str, Callable[[bytes], Signer]]:
        """Signer factories by JWS algorithm name."""
        return self._mapped("asok_auth_signers", settings=settings)

    def mail_transports(self, settings: Settings) -> dict[str, Callable[[], MailTransport]]:
        """Mail transport factories by name."""
        return self._mapped("asok_auth_mail_transports", settings=settings)

    def state_stores(self, settings: Settings) -> dict[str, Callable[[str], StateStore]]:
        """State store factories by URL scheme."""
        return self._mapped("asok_auth_state_stores", settings=settings)

    def login_methods(self, auth: Auth) -> dict[str, LoginMethod]:
        """Login methods by name."""
        return self._named("asok_auth_login_methods", lambda item: item.name, auth=auth)

    def second_factors(self, auth: Auth) -> dict[str, SecondFactor]:
        """Second factors by name. Raises PluginError if a plugin's function raises."""
        return self._named("asok_auth_second_factors", lambda item: item.name, auth=auth)

    def _named(self, hook: str, name_of: Callable[[T], str], **arguments: object) -> dict[str, T]:
        def pairs(result: Iterable[T]) -> Iterable[tuple[str, T]]:
            return [(name_of(item), item) for item in result]

        return self._gather(hook, pairs, arguments)

    def _mapped(self, hook: str, **arguments: object) -> dict[str, T]:
        def pairs(result: Mapping[str, T]) -> Iterable[tuple[str, T]]:
            return list(result.items())

        return self._gather(hook, pairs, arguments)

    def _gather(
        self,
        hook: str,
        pairs: Callable[[T], Iterable[tuple[str, object]]],
        arguments: dict[str, object],
    ) -> dict[str, object]:
        merged: dict[str, object] = {}
        owners: dict[str, str] = {}
        for plugin, call in self._callers(hook):
            try:
                given = [pair for result in call(**arguments) for pair in pairs(result)]
            except Exception as error:
                self._keep_out(self._infos[plugin], f"{hook} raised {type(error).__name__}: {error}")
                continue
            clash = next((name for name, _ in given if name in merged), None)
            if clash is not None:
                self._keep_out(
                    self._infos[plugin], f"{hook} gives {clash!r}, which {owners[clash]!r} gives already"
                )
                continue
            merged.update(given)
            owners.update((name, plugin) for name, _ in given)
        return merged

    # -- request hooks ---------------------------------------------------------------------------

    def permissions(
        self, user: User, on_error: Callable[[str, Exception], None]
    ) -> Iterator[tuple[str, PermissionSet]]:
        """``(plugin, grants)`` of every plugin; one that raises grants nothing and is reported."""
        for plugin, call in self._callers("asok_auth_permissions"):
            try:
                given = [
                    result if isinstance(result, PermissionSet) else compile_grants(result)
                    for result in call(user=user)
                ]
            except Exception as error:
                on_error(plugin, error)
            else:
                yield from ((plugin, grants) for grants in given)

    def denies(
        self, user: User, permission: str, resource: object | None, on_error: Callable[[str, Exception], None]
    ) -> tuple[str, str] | None:
        """``(plugin, reason)`` of the first refusal, or None. A plugin that raises refuses."""
        arguments = {"user": user, "permission": permission, "resource": resource}
        return self._first_reason("asok_auth_denies", arguments, on_error)

    def before_login(
        self, attempt: LoginAttempt, on_error: Callable[[str, Exception], None]
    ) -> tuple[str, str] | None:
        """``(plugin, reason)`` of the first refusal, or None. A plugin that raises refuses."""
        return self._first_reason("asok_auth_before_login", {"attempt": attempt}, on_error)

    def _first_reason(
        self, hook: str, arguments: dict[str, object], on_error: Callable[[str, Exception], None]
    ) -> tuple[str, str] | None:
        for plugin, call in self._callers(hook):
            try:
                reasons = call(**arguments)
            except Exception as error:
                on_error(plugin, error)
                return plugin, "This could not be checked just now."
            if reasons:
                return plugin, str(reasons[0])
        return None

    def event(self, event: Event) -> None:
        """Tell every observer; one that raises is logged and changes nothing."""
        for plugin, call in self._callers("asok_auth_event"):
            try:
                call(event=event)
            except Exception:
                logger.exception("Plugin %r failed on event %s.", plugin, event.name)

    # -- tools -----------------------------------------------------------------------------------

    def checks(self, auth: Auth) -> Iterator[Finding]:
        """Findings of every plugin; one that raises becomes a finding."""
        for plugin, call in self._callers("asok_auth_checks"):
            try:
                yield from [finding for result in call(auth=auth) for finding in result]
            except Exception as error:
                yield Finding(
                    plugin, "error", f"its check raised {type(error).__name__}: {error}", "Repair the plugin."
                )

    def commands(self, cli: typer.Typer, on_error: Callable[[str, Exception], None]) -> None:
        """Let every plugin add its subcommands; one that raises is reported."""
        for plugin, call in self._callers("asok_auth_commands"):
            try:
                call(cli=cli)
            except Exception as error:
                on_error(plugin, error)

    def _callers(self, hook: str) -> list[tuple[str, Callable[..., list[T]]]]:
        """Each plugin that implements ``hook``, with a caller that reaches only it."""
        if hook not in self._cached:
            self._cached[hook] = self._find_callers(hook)
        return self._cached[hook]

    def _find_callers(self, hook: str) -> list[tuple[str, Callable[..., list[object]]]]:
        implementations = getattr(self.manager.hook, hook).get_hookimpls()
        plugins = [impl.plugin for impl in implementations]
        return [
            (
                impl.plugin_name,
                self.manager.subset_hook_caller(hook, [p for p in plugins if p is not impl.plugin]),
            )
            for impl in implementations
        ]


def _problem(plugin: object, info: PluginInfo, manifest: object) -> str | None:
    """Why this plugin cannot be used, or None."""
    if not isinstance(manifest, PluginManifest):
        return "its asok_auth_plugin is not a PluginManifest"
    try:
        fits = SpecifierSet(manifest.api).contains(API_VERSION)
    except InvalidSpecifier:
        return f'its api range {manifest.api!r} cannot be read; write one like ">=1.0,<2"'
    if not fits:
        return f"it was written for plugin API {manifest.api}, this is {API_VERSION}"
    marked = [
        name
        for name, value in inspect.getmembers(plugin, callable)
        if getattr(value, f"{GROUP}_impl", None) is not None
    ]
    for name in marked:
        if name not in HOOKS:
            near = difflib.get_close_matches(name, HOOKS, 1, 0.0)[0]
            return f"there is no hook {name!r}; did you mean {near!r}?"
    for name in info.hooks:
        if name not in marked:
            return f"{name} is not marked with @hookimpl"
    if not marked:
        return "it implements no hook"
    return None


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
