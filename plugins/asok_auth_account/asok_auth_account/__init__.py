"""Notices by mail and self-service for accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from asok_auth_core.plugin import (
    JSON,
    AccountSection,
    Auth,
    Event,
    Finding,
    LoginMethod,
    PluginManifest,
    Route,
    SignUpStep,
    hookimpl,
)

from .notices import observe
from .settings import AccountSettings

if TYPE_CHECKING:
    import typer

    from asok_auth_core.plugin import LoginAttempt, User

asok_auth_plugin = PluginManifest(
    api=">=1.0,<2",
    section="ACCOUNT",
    settings=AccountSettings,
    required=True,
    sends_mail=lambda settings: settings.section(AccountSettings).needs_mail,
)

ARRIVALS = frozenset(
    {"login.succeeded", "account.created", "account.voided", "email.changed", "email.restored"}
)
"""The events that change invitations, orders, recoveries and known browsers."""


@hookimpl
def asok_auth_login_methods(auth: Auth) -> Iterable[LoginMethod]:
    from .method import AccountMethod

    return [AccountMethod(auth)]


@hookimpl
def asok_auth_routes(auth: Auth) -> Iterable[Route]:
    from .method import account_method

    return account_method(auth).all_routes()


@hookimpl
def asok_auth_sign_up_steps(auth: Auth) -> Iterable[SignUpStep]:
    from .terms import steps

    return steps(auth)


@hookimpl
def asok_auth_account_sections(auth: Auth) -> Iterable[AccountSection]:
    from .sections import sections

    return sections(auth)


@hookimpl
def asok_auth_before_login(attempt: LoginAttempt, auth: Auth) -> str | None:
    from .sign_up import rejection

    return rejection(auth, attempt)


@hookimpl
def asok_auth_event(event: Event, auth: Auth) -> None:
    try:
        observe(auth, event)
    finally:
        if event.name in ARRIVALS and event.user_id is not None:
            from .arrivals import arrive

            arrive(auth, event)


@hookimpl
def asok_auth_checks(auth: Auth) -> Iterable[Finding]:
    from .findings import findings

    return findings(auth)


@hookimpl
def asok_auth_commands(cli: typer.Typer) -> None:
    from .commands import account, invite

    cli.command("invite")(invite)
    cli.add_typer(account, name="account")


@hookimpl
def asok_auth_export_user(auth: Auth, user: User) -> Mapping[str, JSON]:
    from .personal_data import exported

    return exported(auth, user)


@hookimpl
def asok_auth_remove_user(auth: Auth, user: User) -> None:
    from .personal_data import forget

    forget(auth, user)
