"""Authenticator apps as second factors for asok-auth-core."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from asok_auth_core.plugin import Auth, PluginManifest, SealedValues, SecondFactor, hookimpl

from .settings import TotpSettings

if TYPE_CHECKING:
    import typer

    from .authenticator import Authenticators

asok_auth_plugin = PluginManifest(api=">=1.0,<2", section="TOTP", settings=TotpSettings)


@hookimpl
def asok_auth_second_factors(auth: Auth) -> Iterable[SecondFactor]:
    from .api import TotpApi
    from .factor import TotpFactor

    authenticators = _authenticators(auth)
    api = TotpApi(auth, auth.settings.section(TotpSettings), authenticators)
    return [TotpFactor(auth, authenticators, api)]


@hookimpl
def asok_auth_sealed_values(auth: Auth) -> Iterable[SealedValues[Any]]:
    from .authenticator import SealedApps
    from .importing import SealedInAdmin

    return [
        SealedApps(auth.credentials, auth.keys, auth.random),
        SealedInAdmin(auth, _authenticators(auth)),
    ]


def _authenticators(auth: Auth) -> Authenticators:
    from .authenticator import Authenticators

    return Authenticators(
        auth.settings.section(TotpSettings),
        credentials=auth.credentials,
        state=auth.state,
        keys=auth.keys,
        clock=auth.clock,
        random=auth.random,
    )


@hookimpl
def asok_auth_commands(cli: typer.Typer) -> None:
    from .commands import app

    cli.add_typer(app, name="totp")
