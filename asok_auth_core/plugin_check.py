"""What is known of one plugin, and whether it can be used at all."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass
from typing import Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from . import hookspecs
from .hookspecs import API_VERSION, GROUP, PluginManifest

HOOKS = tuple(sorted(name for name in vars(hookspecs) if name.startswith("asok_auth_")))
GUARDS = frozenset({"asok_auth_second_factors", "asok_auth_denies", "asok_auth_before_login"})
"""Hooks that refuse: a plugin that has one is never dropped silently."""

State = Literal["loaded", "disabled", "quarantined"]


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """What ``asok-auth plugins`` shows of one plugin. ``reason`` says why it is not loaded."""

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()
    state: State = "loaded"
    reason: str = ""


def problem(plugin: object, info: PluginInfo, manifest: object) -> str | None:
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
