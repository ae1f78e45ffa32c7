"""Everything a plugin can hook into. This is the one file a plugin author reads.

A plugin is a module (or object) with functions named as below and marked ``@hookimpl``. It is found
through the entry point group ``asok_auth``, or handed over: ``AuthExtension(plugins=[module])``.
A function may leave out arguments it does not need. Return an iterable or a mapping where one is
named; None always means "nothing from me".

*Registration* hooks run once, at start-up. *Request* hooks run when the docstring says so. Beside
each hook stands its failure policy: what happens when your function raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pluggy

from .contracts import LoginMethod, MailTransport, SecondFactor, Signer, StateStore
from .settings import Settings
from .types import Event, Finding, Grant, LoginAttempt, User

if TYPE_CHECKING:
    import typer

    from .auth import Auth
    from .providers import OAuth2Provider

GROUP = "asok_auth"
"""The entry point group, and the name pluggy knows the project by."""

API_VERSION = "1.0"
"""The version of this file. A plugin states the range it was written for in its manifest."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True, slots=True)
class PluginManifest:
    """What a plugin may say about itself, in a module attribute ``asok_auth_plugin``. Optional.

    ``api``: range of :data:`API_VERSION` it works with, such as ``">=1.0,<2"``.
    ``section`` and ``settings``: the key under ``AUTH`` that is the plugin's own, and the
    ``msgspec.Struct`` its value must fit; read it back with ``settings.section(ThatStruct)``.
    """

    api: str = ">=1.0,<2"
    section: str | None = None
    settings: type[msgspec.Struct] | None = None


# -- registration: called once, at start-up -----------------------------------------------------


@hookspec
def asok_auth_providers(settings: Settings) -> Iterable[OAuth2Provider] | None:
    """Providers to log in at. An ``OpenIDProvider`` is an ``OAuth2Provider`` too.

    Called by the plugin manager at start-up. Two providers of one name: the second is refused.
    If it raises: the plugin is quarantined, the others go on.
    """


@hookspec
def asok_auth_signers(settings: Settings) -> Mapping[str, Callable[[bytes], Signer]] | None:
    """Token signers: JWS algorithm name to a factory that is given 32 bytes of key material.

    Called at start-up. If it raises: quarantined; start-up fails if ``AUTH["SIGNER"]`` is then
    missing.
    """


@hookspec
def asok_auth_mail_transports(
    settings: Settings,
) -> Mapping[str, Callable[[], MailTransport]] | None:
    """Mail transports: name, as in ``AUTH["MAIL_TRANSPORT"]``, to a factory.

    Called at start-up; only the chosen factory is called. If it raises: quarantined; start-up
    fails if the chosen transport is then missing.
    """


@hookspec
def asok_auth_state_stores(
    settings: Settings,
) -> Mapping[str, Callable[[str], StateStore]] | None:
    """State stores: URL scheme to a factory that is given the whole URL.

    Called at start-up; only the factory of the scheme in ``AUTH["STATE_STORE"]`` is called. If it
    raises: quarantined; start-up fails if the chosen scheme is then missing.
    """


@hookspec
def asok_auth_login_methods(auth: Auth) -> Iterable[LoginMethod] | None:
    """Login methods: a name under ``request.auth``, pages, a block on the login page.

    Called at start-up, after stores, keys and mail are there. If it raises: quarantined.
    """


@hookspec
def asok_auth_second_factors(auth: Auth) -> Iterable[SecondFactor] | None:
    """Second factors. Called at start-up.

    If it raises: start-up fails, because losing a second factor silently would be a hole.
    """


# -- request: called while somebody logs in or asks for something --------------------------------


@hookspec
def asok_auth_permissions(user: User) -> Iterable[str | Grant] | None:
    """What ``user`` may do: ``"*"``, ``"posts.*"``, ``"posts.edit"``; merged over all plugins.

    With thousands of grants, return a set compiled once with ``compile_grants``: it is used as it is.

    Called when a user's permissions are first asked for in a request. If it raises: that plugin
    grants nothing this time, and the error is logged and becomes an event.
    """


@hookspec
def asok_auth_denies(user: User, permission: str, resource: object | None) -> str | None:
    """A reason to refuse ``permission`` (on ``resource``, if one was named), or None.

    Called for each check that the grants allow. One reason from any plugin refuses. If it raises:
    refused.
    """


@hookspec
def asok_auth_before_login(attempt: LoginAttempt) -> str | None:
    """A reason, fit to be read by the person, to refuse this login, or None.

    Called by the login pipeline after the first factor, before the second. If it raises: refused.
    """


@hookspec
def asok_auth_event(event: Event) -> None:
    """Observe what happened: audit logs, counters, alerts. The return value is ignored.

    Called after the fact, in the request's thread. If it raises: logged, nothing else changes.
    """


# -- tools: called by the command line -----------------------------------------------------------


@hookspec
def asok_auth_checks(auth: Auth) -> Iterable[Finding] | None:
    """Findings for ``asok-auth doctor``. If it raises: that is reported as a finding."""


@hookspec
def asok_auth_commands(cli: typer.Typer) -> None:
    """Add subcommands to ``asok-auth``. If it raises: the command is missing, said on stderr."""
