"""Authenticator apps and recovery codes as second factors for asok-auth-core."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from asok_auth_core import PluginManifest, SecondFactor, hookimpl

from .settings import TotpSettings

if TYPE_CHECKING:
    import typer

    from asok_auth_core.auth import Auth

asok_auth_plugin = PluginManifest(api=">=1.0,<2", section="TOTP", settings=TotpSettings)


@hookimpl
def asok_auth_second_factors(auth: Auth) -> Iterable[SecondFactor]:
    from .api import TotpApi
    from .authenticator import Authenticators
    from .factor import RecoveryFactor, TotpFactor
    from .recovery import RecoveryCodes

    settings = auth.settings.section(TotpSettings)
    codes = RecoveryCodes(auth.credentials, auth.keys, auth.random)
    authenticators = Authenticators(
        settings,
        credentials=auth.credentials,
        state=auth.state,
        keys=auth.keys,
        clock=auth.clock,
        random=auth.random,
    )
    api = TotpApi(auth, settings, authenticators, codes)
    return [TotpFactor(auth, authenticators, codes, api), RecoveryFactor(auth, authenticators, codes)]


@hookimpl
def asok_auth_commands(cli: typer.Typer) -> None:
    from .commands import app

    cli.add_typer(app, name="totp")
