"""Authenticator apps as second factors for asok-auth-core."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from asok_auth_core.plugin import Auth, PluginManifest, SecondFactor, hookimpl

from .settings import TotpSettings

if TYPE_CHECKING:
    import typer

asok_auth_plugin = PluginManifest(api=">=1.0,<2", section="TOTP", settings=TotpSettings)


@hookimpl
def asok_auth_second_factors(auth: Auth) -> Iterable[SecondFactor]:
    from .api import TotpApi
    from .authenticator import Authenticators
    from .factor import TotpFactor

    settings = auth.settings.section(TotpSettings)
    authenticators = Authenticators(
        settings,
        credentials=auth.credentials,
        state=auth.state,
        keys=auth.keys,
        clock=auth.clock,
        random=auth.random,
    )
    return [TotpFactor(auth, authenticators, TotpApi(auth, settings, authenticators))]


@hookimpl
def asok_auth_commands(cli: typer.Typer) -> None:
    from .commands import app

    cli.add_typer(app, name="totp")
