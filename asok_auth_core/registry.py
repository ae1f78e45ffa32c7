"""Finds plugins, checks them, and quarantines broken ones with the reason.

Entry points are loaded one at a time, so a broken plugin costs only itself. The app does not start
without one that may reject something, or might, because its hooks are not known.
"""

from __future__ import annotations

import inspect
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import metadata
from types import ModuleType
from typing import ParamSpec, TypeVar, cast

import msgspec
import pluggy
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from . import hookspecs
from .engine.coroutines import NeverAwaited, is_coroutine_function
from .engine.suggest import did_you_mean
from .errors import ConfigurationError, SettingError
from .hookspecs import API_VERSION, GROUP, PluginManifest
from .settings import CORE_KEYS, Settings
from .types import Clock, PluginInfo

logger = logging.getLogger("asok_auth")

P = ParamSpec("P")
T = TypeVar("T")

HOOKS = tuple(sorted(name for name in vars(hookspecs) if name.startswith("asok_auth_")))
SECTION = re.compile("[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
CORE = "asok_auth_core"
"""The name of the plugin of the core itself."""
GUARDS = frozenset(
    {"asok_auth_second_factors", "asok_auth_sign_up_steps", "asok_auth_denies", "asok_auth_before_login"}
)
"""Hooks that can reject something: the app does not start without a plugin that has one."""


class PluginRegistry:
    """The plugins of one app: found, checked, and registered with pluggy."""

    def __init__(
        self,
        *,
        strict: bool = False,
        required: Sequence[str] | None = None,
        optional: Sequence[str] = (),
        debug: bool = False,
        inventory: bool = False,
        stopwatch: Clock = time.perf_counter,
    ) -> None:
        """``required``: ``AUTH["PLUGINS"]``; ``optional``: ``AUTH["OPTIONAL_PLUGINS"]``.

        ``inventory`` is for tools that only list plugins: broken ones are recorded, but not logged
        and never raised. ``stopwatch`` measures imports. Raises SettingError if both lists have a name.
        """
        self._stopwatch = stopwatch
        self._inventory = inventory
        self._strict = strict
        self._debug = debug
        self._listed = required is not None
        self._required = frozenset(required or ())
        self._optional = frozenset(optional)
        self._infos: dict[str, PluginInfo] = {}
        self._manifests: dict[str, PluginManifest] = {}
        self._cached: dict[object, list[tuple[str, pluggy.HookCaller]]] = {}
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)
        for name in sorted(self._required & self._optional):
            raise _in_both_lists(name)

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
    def modules(self) -> tuple[str, ...]:
        """The modules that define the loaded plugins, in the order of registration."""
        return tuple(dict.fromkeys(_module_of(plugin) for _, plugin in self.manager.list_name_plugin()))

    def discover(self, entry_points: Iterable[metadata.EntryPoint] | None = None) -> None:
        """Load the installed plugins of entry point group ``asok_auth``, one at a time.

        Raises ConfigurationError for one that the app must not start without.
        """
        found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        rest = []
        for entry in sorted(found, key=lambda e: (e.name, e.value)):
            info = _info(entry)
            names = {info.name, info.distribution}
            if self._required & names and self._optional & names:
                raise _in_both_lists(info.name)
            if not self._listed or (self._required | self._optional) & names:
                self._load(entry, info)
            else:
                rest.append(info)
        for info in map(self._renamed, rest):
            self._infos[info.name] = replace(info, state="disabled", reason='not listed in AUTH["PLUGINS"]')
        names = {name for info in self._infos.values() for name in (info.name, info.distribution)}
        for name in sorted(self._required - names):
            self._quarantine(PluginInfo(name), f"it is not installed{_hint(name, names)}")

    def _load(self, entry: metadata.EntryPoint, info: PluginInfo) -> None:
        other = self._infos.get(info.name)
        if other is not None:
            if (other.entry_point, other.distribution) == (info.entry_point, info.distribution):
                return  # the same one, found in two folders of sys.path
            self._quarantine_clash(info, other)
            return
        started = self._stopwatch()
        try:
            plugin = entry.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit must not end the app silently
            reason = f"it cannot be imported: {type(error).__name__}: {error}"
            self._quarantine(info, reason, hooks_known=False)
        else:
            self._register(plugin, replace(info, import_seconds=self._stopwatch() - started))

    def register(self, plugin: object, name: str | None = None, distribution: str = "") -> None:
        """Add a plugin by hand. Its name defaults to the module's or class's.

        Raises ConfigurationError if it is broken and the app must not start without it.
        """
        name = name or getattr(plugin, "__name__", None) or type(plugin).__name__
        info = PluginInfo(name, distribution)
        if name in self._infos:
            self._quarantine_clash(info, self._infos[name])
        else:
            self._register(plugin, info)

    def _quarantine_clash(self, info: PluginInfo, other: PluginInfo) -> None:
        name = info.name
        self._quarantine(
            self._renamed(info),
            f"the name {name!r} is taken by {_origin(other) or 'another plugin of the app'}; uninstall one "
            'of the two, or list the distribution of the right one in AUTH["PLUGINS"]',
            hooks_known=False,
            in_debug=False,
        )

    def _register(self, plugin: object, info: PluginInfo) -> None:
        registered = self.manager.list_name_plugin()
        same = next((name for name, other in registered if other is plugin), None)
        if same is not None:
            self._infos[info.name] = replace(info, state="disabled", reason=f"it is the plugin {same!r}")
            return
        try:
            info = replace(info, hooks=tuple(hook for hook in HOOKS if hasattr(plugin, hook)))
            manifest = self._manifests[info.name] = _manifest(plugin)
            _check_manifest(manifest)
            _check(plugin, info.hooks)
            _check_identity(plugin, registered)
            self.manager.register(plugin, info.name)
            self._check_registered(plugin, info.hooks)
        except NeverAwaited as error:
            self._quarantine(info, error.message, hooks_known=False, in_debug=False)
        except (_HookInvalid, pluggy.PluginValidationError) as error:
            self._quarantine(info, " ".join(str(error).split()))
        except Exception as error:  # noqa: BLE001 - a broken plugin costs only itself
            reason = str(error) if isinstance(error, _HooksUnknown) else f"{type(error).__name__}: {error}"
            self._quarantine(info, reason, hooks_known=False)
        else:
            self._cached.clear()
            self._infos[info.name] = info

    def _check_registered(self, plugin: object, hooks: Sequence[str]) -> None:
        """Raise _HookInvalid for a hook that pluggy silently left out."""
        called = {caller.name for caller in self.manager.get_hookcallers(plugin) or ()}
        for name in hooks:
            # pluggy calls a property up to version 1.5 only.
            is_property = isinstance(inspect.getattr_static(plugin, name, None), property)
            if name not in called or is_property:
                raise _HookInvalid(
                    f"{name} would never be called: write it as a function or method, with @hookimpl "
                    "directly above def"
                )

    def quarantine(self, name: str, reason: str, *, never_awaited: bool = False) -> None:
        """Stop using the loaded plugin ``name``.

        Raises ConfigurationError if the app must not start without it, and for a coroutine
        function that is ``never_awaited``.
        """
        self._quarantine(self._infos[name], reason, hooks_known=not never_awaited, in_debug=not never_awaited)

    def _quarantine(
        self, info: PluginInfo, reason: str, *, hooks_known: bool = True, in_debug: bool = True
    ) -> None:
        self._unregister(info.name)
        manifest = self._manifests.pop(info.name, None)
        self._infos[info.name] = replace(info, state="quarantined", reason=reason)
        if self._inventory:
            return
        message = f"Plugin {info.name!r}{_origin(info, ' ({})')} is not loaded: {reason.rstrip('.')}."
        needed = manifest is not None and manifest.required
        stop = self._why_stop(info, needed, hooks_known, in_debug and self._debug)
        if stop is not None:
            raise ConfigurationError(f"{message} {stop}", code="plugin")
        logger.error("%s", message)

    def _why_stop(self, info: PluginInfo, needed: bool, hooks_known: bool, tolerant: bool) -> str | None:
        """Why the app must not start without this plugin, and what to do; None if it may."""
        names = {info.name, info.distribution}
        guards = sorted(GUARDS.intersection(info.hooks))
        if guards:
            return (
                f"It implements {', '.join(guards)}, so running without it would allow what it may "
                "reject. Fix or uninstall it."
            )
        if needed:
            return "Its manifest says that the app must not run without it. Fix or uninstall it."
        if self._required & names:
            return (
                'AUTH["PLUGINS"] lists it, so the app does not start without it. Install or fix it, or take '
                "it off the list."
            )
        if self._optional & names:
            return None
        if not hooks_known and not tolerant:
            return (
                "It may hold a second factor or a policy, so the app does not start without it. Fix, upgrade "
                f"or uninstall it, or, if the app may run without it, add {info.name!r} to "
                'AUTH["OPTIONAL_PLUGINS"].'
            )
        if self._strict:
            return 'AUTH["STRICT"] is on. Fix or uninstall it.'
        return None

    def _renamed(self, info: PluginInfo) -> PluginInfo:
        """``info``, under a name of its own if another plugin has its name."""
        if info.name not in self._infos:
            return info
        return replace(info, name=f"{info.name} ({info.distribution or info.entry_point or 'again'})")

    def _unregister(self, name: str) -> None:
        self._cached.clear()
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)

    def sections(self) -> dict[str, type[msgspec.Struct]]:
        """The plugins' settings by key in ``AUTH``; a repeated one is quarantined.

        Raises ConfigurationError if the app must not start without that plugin.
        """
        owners: dict[str, str] = {}
        for name, manifest in list(self._manifests.items()):
            if manifest.section is None:
                continue
            if manifest.section in owners:
                owner = self.described(owners[manifest.section])
                reason = f"its settings section {manifest.section!r} is that of {owner}"
                self._quarantine(self._infos[name], reason)
            else:
                owners[manifest.section] = name
        kinds = {section: self._manifests[name].settings for section, name in owners.items()}
        return {section: kind for section, kind in kinds.items() if kind is not None}

    def mail_senders(self, settings: Settings) -> list[str]:
        """The loaded plugins that do not work without mail."""
        return [name for name, manifest in self._manifests.items() if _sends_mail(name, manifest, settings)]

    def described(self, name: str) -> str:
        """``plugin 'acme' (distribution asok-acme 1.2)``, for messages."""
        return f"plugin {name!r}{_origin(self._infos[name], ' ({})')}"

    # -- calling ---------------------------------------------------------------------------------

    def callers(self, hook: Callable[P, T]) -> Sequence[tuple[str, Callable[P, list[T]]]]:
        """Each plugin with ``hook``, and a function that calls only this plugin.

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


class _HooksUnknown(Exception):
    """A plugin that may hold any hook: unreadable, or with a misspelled name."""


class _HookInvalid(Exception):
    """A hook that pluggy would never call; the plugin's hooks are known."""


def _info(entry: metadata.EntryPoint) -> PluginInfo:
    dist = entry.dist
    return PluginInfo(
        entry.name,
        dist.name if dist else "",
        dist.version if dist else "",
        entry_point=f"{entry.name} = {entry.value}",
    )


def _origin(info: PluginInfo, form: str = "{}") -> str:
    """The distribution and entry point, for messages; "" without either."""
    distribution = f"distribution {info.distribution} {info.version}".strip() if info.distribution else ""
    entry_point = f"entry point {info.entry_point!r}" if info.entry_point else ""
    known = ", ".join(filter(None, (distribution, entry_point)))
    return form.format(known) if known else ""


def _in_both_lists(name: str) -> SettingError:
    return SettingError(
        f'AUTH["PLUGINS"] and AUTH["OPTIONAL_PLUGINS"] both name {name!r}. The app either must load it or '
        "may start without it: remove it from one of the two."
    )


def _hint(name: str, known: Iterable[str]) -> str:
    hint = did_you_mean(name, list(filter(None, known)))
    return f" ({hint})" if hint else ""


def _manifest(plugin: object) -> PluginManifest:
    """The plugin's manifest.

    Raises _HooksUnknown for what is no plugin, and for what is no manifest.
    """
    if inspect.isroutine(plugin) or isinstance(plugin, type):
        raise _HooksUnknown(
            f"its entry point names the {'class' if isinstance(plugin, type) else 'function'} "
            f"{plugin.__name__}; name a module, or an instance with the hooks as methods"
        )
    for name, _ in inspect.getmembers(plugin, lambda value: isinstance(value, PluginManifest)):
        if name != "asok_auth_plugin":
            raise _HooksUnknown(f"its PluginManifest is called {name}; call it asok_auth_plugin")
    manifest = getattr(plugin, "asok_auth_plugin", PluginManifest())
    if not isinstance(manifest, PluginManifest):
        raise _HooksUnknown("its asok_auth_plugin is not a PluginManifest")
    return manifest


def _check_manifest(manifest: PluginManifest) -> None:
    """Raise _HooksUnknown for a plugin of another API or with a bad section."""
    try:
        fits = SpecifierSet(manifest.api).contains(API_VERSION)
    except InvalidSpecifier:
        raise _HooksUnknown(
            f'its api range {manifest.api!r} is not valid; write one like ">=1.0,<2"'
        ) from None
    if not fits:
        raise _HooksUnknown(f"it was written for plugin API {manifest.api}, this is {API_VERSION}")
    if fault := _manifest_fault(manifest):
        raise _HooksUnknown(f"in its PluginManifest, {fault}")


def _sends_mail(name: str, manifest: PluginManifest, settings: Settings) -> bool:
    """False only if the manifest says exactly False."""
    if isinstance(manifest.sends_mail, bool):
        return manifest.sends_mail
    try:
        return manifest.sends_mail(settings) is not False
    except Exception:
        logger.exception("sends_mail of plugin %r failed, so it counts as one that sends mail.", name)
        return True


def _manifest_fault(manifest: PluginManifest) -> str | None:
    """What is wrong with the manifest's values; or None."""
    section: object = manifest.section
    settings: object = manifest.settings
    required: object = manifest.required
    sends_mail: object = manifest.sends_mail
    if not isinstance(sends_mail, bool) and not callable(sends_mail):
        return f"sends_mail is {sends_mail!r}; it must be True, False or a function of the settings"
    if required is not True and required is not False:
        return f"required is {required!r}; it must be True or False"
    if settings is not None and not (isinstance(settings, type) and issubclass(settings, msgspec.Struct)):
        return f"settings is {settings!r}; it must be a class that inherits msgspec.Struct"
    if section is None:
        if settings is None:
            return None
        return f'settings has no section; name one, such as section="{_as_section(settings.__name__)}"'
    if not (isinstance(section, str) and SECTION.fullmatch(section)):
        return (
            f"section is {section!r}; it must be upper-case letters, digits and single _, such as "
            f"{_as_section(str(section))!r}"
        )
    if section in CORE_KEYS:
        return f"section is {section!r}, which is a setting of the core; choose another name"
    if settings is None:
        return f"the section {section!r} has no settings; name their class, a msgspec.Struct"
    return None


def _as_section(name: str) -> str:
    """``name`` as a section.

    ``SMS_GATEWAY`` for ``SmsGatewaySettings`` and ``sms-gateway``.
    """
    words = re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name.removesuffix("Settings"))
    return "_".join(words).upper() or "MY_PLUGIN"


def _check(plugin: object, hooks: Sequence[str]) -> None:
    """Raise an error if a function would never be called as a hook.

    NeverAwaited, _HooksUnknown or _HookInvalid.
    """
    functions = {
        name: value
        for name, value in inspect.getmembers(plugin, callable)
        if hasattr(value, f"{GROUP}_impl")
        or (name.startswith(f"{GROUP}_") and not isinstance(value, type | ModuleType))
    }
    for name, function in functions.items():
        if name not in HOOKS:
            prefixed = name if name.startswith(f"{GROUP}_") else f"{GROUP}_{name}"
            raise _HooksUnknown(f"there is no hook {name!r}{_hint(prefixed, HOOKS)}")
        if is_coroutine_function(function):
            raise NeverAwaited(name)
    for name, function in functions.items():
        options = getattr(function, f"{GROUP}_impl", None)
        if options is None:
            raise _HookInvalid(f"{name} is not marked with @hookimpl")
        if options["wrapper"] or options["hookwrapper"] or options["specname"] not in (None, name):
            raise _HookInvalid(f"{name} is marked as a wrapper or with another name; use plain @hookimpl")
        if fault := _argument_fault(name, function):
            raise _HookInvalid(fault)
    if not hooks:
        raise _HooksUnknown("it implements no hook")


def _argument_fault(hook: str, function: Callable[..., object]) -> str | None:
    """The argument of ``function`` that the hook never passes, and those it passes."""
    passed = list(inspect.signature(getattr(hookspecs, hook)).parameters)
    passes = f"{hook} passes: {', '.join(passed)}"
    for name, one in inspect.signature(function).parameters.items():
        if one.kind is not one.POSITIONAL_OR_KEYWORD:
            return f"the argument {str(one).split(':')[0]!r} is not passed by its plain name. {passes}"
        if name not in passed and one.default is one.empty:
            return f"{hook} has no argument {name!r}{_hint(name, passed)}. {passes}"
        if name in passed and one.default is not one.empty:
            return f"the argument {name!r} of {hook} has a default, so it would never be passed; remove it"
    return None


def _check_identity(plugin: object, registered: Sequence[tuple[str, object]]) -> None:
    """Raise _HooksUnknown if pluggy would confuse ``plugin`` with an equal one."""
    for name, other in registered:
        if plugin == other:
            raise _HooksUnknown(f"it is equal to the plugin {name!r}, so only one of the two would be called")
    if type(plugin).__hash__ is None:
        raise _HooksUnknown("it cannot be hashed; if it is a dataclass, use @dataclass(eq=False)")
