"""The core's own plugin: stores, transports, signers, login methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .auth import Auth
from .checks import findings
from .contracts import LoginMethod, MailTransport, SealedValues, SecondFactor, Signer, StateStore
from .engine.signers import SIGNERS
from .flows.recovery_codes import SealedCodes
from .hookspecs import PluginManifest, hookimpl
from .mail.console import ConsoleTransport
from .mail.file import FileTransport
from .mail.smtp import SmtpTransport
from .methods.oauth import OAuthMethod
from .methods.recovery import RecoveryFactor
from .methods.token import TokenMethod
from .settings import Settings
from .stores.memory import MemoryStateStore
from .stores.sqlite import SQLiteStateStore
from .types import Finding

asok_auth_plugin = PluginManifest(required=True)


@hookimpl
def asok_auth_state_stores(settings: Settings) -> Mapping[str, Callable[[str], StateStore]]:
    return {
        "memory": lambda url: MemoryStateStore(),
        "sqlite": lambda url: SQLiteStateStore(url, root=settings.app.root),
    }


@hookimpl
def asok_auth_signers(settings: Settings) -> Mapping[str, Callable[[bytes], Signer]]:
    return SIGNERS


@hookimpl
def asok_auth_mail_transports(settings: Settings) -> Mapping[str, Callable[[], MailTransport]]:
    return {
        "smtp": lambda: SmtpTransport(settings.mail),
        "console": lambda: ConsoleTransport(settings.mail, debug=settings.app.debug),
        "file": lambda: FileTransport(settings.mail, root=settings.app.root),
    }


@hookimpl
def asok_auth_checks(auth: Auth) -> Iterable[Finding]:
    return findings(auth)


@hookimpl
def asok_auth_sealed_values(auth: Auth) -> Iterable[SealedValues[Any]]:
    return (SealedCodes(auth),)


@hookimpl
def asok_auth_login_methods(auth: Auth) -> Iterable[LoginMethod]:
    return (TokenMethod(auth), OAuthMethod(auth))


@hookimpl
def asok_auth_second_factors(auth: Auth) -> Iterable[SecondFactor]:
    return (RecoveryFactor(auth),)
