"""Finds plugins, checks them, and quarantines broken ones with the reason.

Entry points are loaded one at a time, so one that cannot be imported affects no other.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import metadata
from types import ModuleType
from typing import ParamSpec, TypeVar, cast

import pluggy
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from . import hookspecs
from .engine.suggest import did_you_mean
from .errors import ConfigurationError
from .hookspecs import API_VERSION, GROUP, PluginManifest
from .types import PluginInfo

logger = logging.getLogger("asok_auth")

P = ParamSpec("P")
T = TypeVar("T")

HOOKS = tuple(sorted(name for name in vars(hookspecs) if name.startswith("asok_auth_")))
GUARDS = frozenset({"asok_auth_second_factors", "asok_auth_denies", "asok_auth_before_login"})
"""Hooks that can reject something: a plugin that has one is never dropped silently."""


class PluginRegistry:
    """The plugins of one app: found, checked, and registered with pluggy."""

    def __init__(
        self, *, strict: bool = False, allow: Sequence[str] | None = None, inventory: bool = False
    ) -> None:
        """``strict`` raises ConfigurationError for every broken plugin; ``allow`` names the ones to load.

        ``inventory`` is for tools that only list plugins: broken ones are recorded, but not logged
        and never raised.
        """
        self._inventory = inventory
        self._strict = strict
        self._allow = None if allow is None else frozenset(allow)
        self._infos: dict[str, PluginInfo] = {}
        self._manifests: dict[str, PluginManifest] = {}
        self._cached: dict[object, list[tuple[str, pluggy.HookCaller]]] = {}
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)

    # -- finding and checking --------------------------------------------------------------------

    @property
    def infos(self) -> tuple[PluginInfo, ...]:
        """Every plugin that was found, loaded or not, by name."""
        return tuple(sorted(self._infos.values(), key=lambda info: info.name))

    @property
    def quarantined(self) -> tuple[PluginInfo, ...]:
        """The plugins that are not loaded because they are broken."""
        return tuple(info for info in self.infos if info.state == "quarantined")

    @property
    def manifests(self) -> tuple[PluginManifest, ...]:
        """The manifests of the loaded plugins."""
        return tuple(self._manifests.values())

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that define the loaded plugins, in the order of registration."""
        return tuple(dict.fromkeys(_module_of(plugin) for _, plugin in self.manager.list_name_plugin()))

    def discover(self, entry_points: Iterable[metadata.EntryPoint] | None = None) -> None:
        """Load the installed plugins of entry point group ``asok_auth``, one at a time.

        Raises ConfigurationError in strict mode for the first broken one.
        """
        found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        for entry in sorted(found, key=lambda e: (e.name, e.value)):
            info = PluginInfo(
                entry.name, entry.dist.name if entry.dist else "", entry.dist.version if entry.dist else ""
            )
            if entry.name in self._infos:
                other = self._infos[entry.name]
                self._quarantine(
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
                except Exception as error:  # noqa: BLE001 - a broken plugin costs only itself
                    self._quarantine(info, f"it cannot be imported: {type(error).__name__}: {error}")
                else:
                    self._register(plugin, info)
        missing = sorted(
            (self._allow or frozenset())
            - {name for info in self._infos.values() for name in (info.name, info.distribution)}
        )
        for name in missing:
            self._quarantine(PluginInfo(name), 'it is listed in AUTH["PLUGINS"] but not installed')

    def register(self, plugin: object, name: str | None = None) -> None:
        """Add a plugin by hand. Its name defaults to the module's or class's.

        Raises ConfigurationError in strict mode if it is broken.
        """
        name = name or getattr(plugin, "__name__", None) or type(plugin).__name__
        if name in self._infos:
            self._quarantine(PluginInfo(f"{name} (again)"), f"the name {name!r} is taken by another plugin")
        else:
            self._register(plugin, PluginInfo(name))

    def _register(self, plugin: object, info: PluginInfo) -> None:
        info = replace(info, hooks=tuple(hook for hook in HOOKS if hasattr(plugin, hook)))
        manifest = getattr(plugin, "asok_auth_plugin", PluginManifest())
        if problem := _problem(plugin, info, manifest):
            self._quarantine(info, problem)
            return
        try:
            self.manager.register(plugin, info.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            self._unregister(info.name)
            self._quarantine(info, " ".join(str(error).split()))
        else:
            self._cached.clear()
            self._infos[info.name] = info
            self._manifests[info.name] = manifest

    def quarantine(self, name: str, reason: str) -> None:
        """Stop using the loaded plugin ``name``.

        Raises ConfigurationError in strict mode, or if the plugin has a hook that can reject something.
        """
        self._quarantine(self._infos[name], reason)

    def _quarantine(self, info: PluginInfo, reason: str) -> None:
        self._unregister(info.name)
        self._manifests.pop(info.name, None)
        self._infos[info.name] = replace(info, state="quarantined", reason=reason)
        if self._inventory:
            return
        message = f"Plugin {info.name!r} is not loaded: {reason}."
        guards = sorted(GUARDS.intersection(info.hooks))
        if guards:
            raise ConfigurationError(
                f"{message} It implements {', '.join(guards)}, so running without it would allow what "
                "it may reject. Fix or uninstall it.",
                code="plugin",
            )
        if self._strict:
            raise ConfigurationError(message, code="plugin")
        logger.error("%s", message)

    def _unregister(self, name: str) -> None:
        self._cached.clear()
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)

    # -- calling ---------------------------------------------------------------------------------

    def callers(self, hook: Callable[P, T]) -> Sequence[tuple[str, Callable[P, list[T]]]]:
        """Each plugin that implements ``hook``, with a function that calls only this plugin.

        ``hook`` is its function in :mod:`asok_auth_core.hookspecs`; the call takes the same arguments
        and returns a list of what the plugin returned, empty for None.
        """
        if hook not in self._cached:
            self._cached[hook] = self._find_callers(hook.__name__)
        return cast("Sequence[tuple[str, Callable[P, list[T]]]]", self._cached[hook])

    def _find_callers(self, hook: str) -> list[tuple[str, pluggy.HookCaller]]:
        implementations = getattr(self.manager.hook, hook).get_hookimpls()
        plugins = [impl.plugin for impl in implementations]
        return [
            (
                impl.plugin_name,
                self.manager.subset_hook_caller(hook, [p for p in plugins if p is not impl.plugin]),
            )
            for impl in implementations
        ]


def _module_of(plugin: object) -> str:
    if isinstance(plugin, ModuleType):
        return plugin.__name__
    return plugin.__module__ if isinstance(plugin, type) else type(plugin).__module__


def _problem(plugin: object, info: PluginInfo, manifest: object) -> str | None:
    """Why this plugin cannot be used, or None."""
    if not isinstance(manifest, PluginManifest):
        return "its asok_auth_plugin is not a PluginManifest"
    try:
        fits = SpecifierSet(manifest.api).contains(API_VERSION)
    except InvalidSpecifier:
        return f'its api range {manifest.api!r} is not valid; write one like ">=1.0,<2"'
    if not fits:
        return f"it was written for plugin API {manifest.api}, this is {API_VERSION}"
    marked = [
        name
        for name, value in inspect.getmembers(plugin, callable)
        if getattr(value, f"{GROUP}_impl", None) is not None
    ]
    for name in marked:
        if name not in HOOKS:
            return f"there is no hook {name!r} ({did_you_mean(name, HOOKS)})".removesuffix(" ()")
    for name in info.hooks:
        if name not in marked:
            return f"{name} is not marked with @hookimpl"
    if not marked:
        return "it implements no hook"
    return None
