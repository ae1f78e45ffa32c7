"""Everything a plugin can hook into. This is the one file a plugin author reads.

A plugin is a module (or object) with functions named as below and marked ``@hookimpl``. It is found
through the entry point group ``asok_auth``, or passed by hand: ``AuthExtension(plugins=[module])``.
A function may leave out arguments it does not need; those it has are passed by name and have no default.
Return the iterable or mapping that the signature names; None always means "nothing from this plugin".

*Registration* hooks run once, at startup; *lifetime* hooks once at the start and once at the end.
*Request* hooks run when the docstring says so. Each docstring states the failure policy: what happens
if your function raises. No hook is awaited: a coroutine function stops the start. Names of functions that
start with ``asok_auth_`` are hooks.

*Guards* are second factors, sign-up steps, ``asok_auth_denies``, ``asok_auth_before_login``, and any plugin
whose manifest says ``required``: the app does not start without them. A plugin without a guard is
quarantined if it fails: its hooks are not called, and the app runs without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pluggy

from .contracts import (
    AccountSection,
    LoginMethod,
    MailTransport,
    SecondFactor,
    Signer,
    SignUpStep,
    StateStore,
)
from .settings import Settings
from .types import JSON, Event, Finding, Grant, LoginAttempt, User
from .web import Route

if TYPE_CHECKING:
    import typer

    from .auth import Auth
    from .contracts import SealedValues
    from .providers import OAuth2Provider

GROUP = "asok_auth"
"""The entry point group, and the name pluggy knows the project by."""

API_VERSION = "1.0"
"""The version of this file. A plugin's manifest states the range it supports."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a function as the implementation of the hook with its name."""


@dataclass(frozen=True, slots=True)
class PluginManifest:
    """Optional metadata of a plugin, in its module attribute ``asok_auth_plugin``.

    ``api``: the range of :data:`API_VERSION` it works with, such as ``">=1.0,<2"``.
    ``section`` and ``settings``: the plugin's own key under ``AUTH``, and the ``msgspec.Struct``
    that its value must match; read it back with ``settings.section(ThatStruct)``.
    ``required``: True if the app must not start without the plugin, as for an audit log.
    ``sends_mail``: True if the plugin does not work without mail, or a function of the settings that says so.
    Without such a plugin the app starts without a mail server; what could still be mailed is left out.
    """

    api: str = ">=1.0,<2"
    section: str | None = None
    settings: type[msgspec.Struct] | None = None
    required: bool = False
    sends_mail: bool | Callable[[Settings], bool] = False


# -- registration: called once, at startup -----------------------------------------------------


@hookspec
def asok_auth_providers(settings: Settings) -> Iterable[OAuth2Provider] | None:
    """OAuth and OpenID providers users can log in with.

    Called at startup. If two plugins return the same name, the second one is quarantined.
    If it raises: the plugin is quarantined, unless it is a guard; the others are loaded.
    """


@hookspec
def asok_auth_signers(settings: Settings) -> Mapping[str, Callable[[bytes], Signer]] | None:
    """Token signers: JWS algorithm name to a factory that takes 32 bytes.

    Called at startup. If it raises: quarantined; startup fails if ``AUTH["SIGNER"]`` is then
    missing.
    """


@hookspec
def asok_auth_mail_transports(settings: Settings) -> Mapping[str, Callable[[], MailTransport]] | None:
    """Mail transports: name, as in ``AUTH["MAIL_TRANSPORT"]``, to a factory.

    Called at startup; only the chosen factory is called. If it raises: quarantined; startup
    fails if the chosen transport is then missing.
    """


@hookspec
def asok_auth_state_stores(settings: Settings) -> Mapping[str, Callable[[str], StateStore]] | None:
    """State stores: URL scheme to a factory that takes the whole URL.

    Called at startup; only the factory of the scheme in ``AUTH["STATE_STORE"]`` is called. If it
    raises: quarantined; startup fails if the chosen scheme is then missing.
    """


@hookspec
def asok_auth_login_methods(auth: Auth) -> Iterable[LoginMethod] | None:
    """Login methods: a name under ``request.auth``, pages, a block on the login page.

    A name consists of lowercase letters, digits and ``_``. Called at startup, after stores, keys
    and mail are ready. If it raises: quarantined. A method's ``routes`` that raise stop the start;
    its block on a page that raises is left out; ``authenticate`` that raises logs no user in.
    """


@hookspec
def asok_auth_second_factors(auth: Auth) -> Iterable[SecondFactor] | None:
    """Second factors. Their names follow the same rule as those of login methods.

    Called at startup. If it raises: startup fails, because logins would otherwise skip the factor.
    At a login, a factor that raises or answers with neither True nor False counts as needed and not
    given.
    """


@hookspec
def asok_auth_sign_up_steps(auth: Auth) -> Iterable[SignUpStep] | None:
    """Steps that newcomers take before their account exists: agree to terms, say.

    Called at startup. If it raises: startup fails, as for two steps with one name, because accounts would
    otherwise be opened without them. At a login, a step that raises opens no account.
    """


@hookspec
def asok_auth_routes(auth: Auth) -> Iterable[Route] | None:
    """Pages and JSON endpoints, for plugins of any kind.

    Called at startup, after all login methods and second factors. Two routes that match the same path
    stop the start, with the names of both owners. If it raises: startup fails and names the plugin.
    """


@hookspec
def asok_auth_account_sections(auth: Auth) -> Iterable[AccountSection] | None:
    """Blocks on the account page of plugins that are no method or factor.

    Called at startup. If two plugins return the same name, the second one is quarantined. If it raises:
    the plugin is quarantined, unless it is a guard; a block that raises is left out.
    """


# -- lifetime: called once in each process that runs the app --------------------------------------


@hookspec
def asok_auth_start(auth: Auth) -> None:
    """The app is built and handles no request yet: to clean up or read ``auth``.

    Called in the order in which plugins were loaded: those passed by hand, then the installed ones by
    name; commands of ``asok-auth`` and Asok that load the app call it too. A server that forks its workers
    later calls it before, so start threads on first use. If it raises: startup fails and names the plugin,
    and ``asok_auth_stop`` of all plugins is called.
    """


@hookspec
def asok_auth_stop(auth: Auth) -> None:
    """The app closes or the process exits; stores and mail still work.

    Called in the reverse order, once after ``asok_auth_start``, but not in a process that is killed.
    If it raises: logged; the others are still called.
    """


# -- request: called while a request is handled -------------------------------------------------


@hookspec
def asok_auth_permissions(user: User) -> Iterable[str | Grant] | None:
    """What ``user`` may do, such as ``"posts.*"``; merged over all plugins.

    With thousands of grants, return a set compiled once with ``compile_grants``.

    Called when a request first checks the user's permissions. If it raises: the plugin grants
    nothing in this request, the error is logged, and an event is emitted.
    """


@hookspec
def asok_auth_denies(user: User, permission: str, resource: object | None) -> str | None:
    """A reason to deny ``permission`` (on ``resource``, if one was named), or None.

    Called for each check that the grants allow. Anything but None from any plugin denies, even "".
    If it raises: denied.
    """


@hookspec
def asok_auth_before_login(attempt: LoginAttempt, auth: Auth) -> str | None:
    """A user-facing reason to reject this login, or None.

    Called after the first factor and before the second. Anything but None rejects, even "". If it
    raises: rejected. With StoreUnavailable the user is told to try again, and a mailed link still works.
    """


@hookspec
def asok_auth_event(event: Event, auth: Auth) -> None:
    """Observe events, for audit logs, counters and alerts.

    The return value is ignored. Called after the fact, in the thread that emits the event. A guard only if
    its manifest says ``required``. If it raises: logged, and nothing else changes.
    """


@hookspec
def asok_auth_export_user(auth: Auth, user: User) -> Mapping[str, JSON] | None:
    """What the plugin keeps about ``user``, for the user: JSON without secrets.

    Called when a user's data is exported. If it raises: logged, and the export names the plugin as failed.
    """


@hookspec
def asok_auth_remove_user(auth: Auth, user: User) -> None:
    """Delete what the plugin keeps about ``user``, whose account is being deleted.

    Called when an account is deleted, and again if that is repeated; credentials of the core's table are
    removed without it. If it raises: logged and reported, and the rest is removed.
    """


# -- tools: called by the command line -----------------------------------------------------------


@hookspec
def asok_auth_checks(auth: Auth) -> Iterable[Finding] | None:
    """Findings for ``asok-auth doctor``.

    If it raises: the error is reported as a finding.
    """


@hookspec
def asok_auth_sealed_values(auth: Auth) -> Iterable[SealedValues[Any]] | None:
    """Lasting values that need a secret key, for ``asok-auth keys``.

    Called by ``keys reseal``, which seals them again, and ``keys retire``, which counts them.

    If it raises: the command stops and names the plugin, since its users would be locked out.
    """


@hookspec
def asok_auth_commands(cli: typer.Typer) -> None:
    """Add subcommands to ``asok-auth``.

    If it raises: they are skipped and an error is printed.
    """
