"""Authenticator apps and recovery codes as second factors for asok-auth-core."""

from __future__ import annotations

from asok_auth_core.hookspecs import PluginManifest

from .settings import SECTION, TotpSettings

__version__ = "0.1.0"

asok_auth_plugin = PluginManifest(section=SECTION, settings=TotpSettings)
