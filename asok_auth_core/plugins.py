"""The plugins of one app, with a type for every hook and its failure policy.

pluggy does the calling. Every call goes to one plugin at a time, so that one that raises costs only
its own result; the policies stand in :mod:`asok_auth_core.hookspecs`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from .contracts import LoginMethod, MailTransport, SecondFactor, Signer, StateStore
from .engine.permissions import PermissionSet, compile_grants
from .registry import PluginInfo as PluginInfo
from .registry import PluginRegistry
from .settings import Settings
from .types import Event, Finding, LoginAttempt, User

if TYPE_CHECKING:
    import typer

    from .auth import Auth
    from .providers import OAuth2Provider

logger = logging.getLogger("asok_auth")

T = TypeVar("T")
ErrorHandler = Callable[[str, Exception], None]
"""Called with the plugin's name and what it raised."""


class Plugins(PluginRegistry):
    """Finds the plugins of one app and calls their hooks."""

    # -- registration hooks ----------------------------------------------------------------------

    def providers(self, settings: Settings) -> dict[str, OAuth2Provider]:
        """Providers by name."""
        return self._named("asok_auth_providers", lambda item: item.name, settings=settings)

    def signers(self, settings: Settings) -> dict[str, Callable[[bytes], Signer]]:
        """Signer factories by JWS algorithm name."""
        return self._mapped("asok_auth_signers", settings=settings)

    def mail_transports(self, settings: Settings) -> dict[str, Callable[[], MailTransport]]:
        """Mail transport factories by name."""
        return self._mapped("asok_auth_mail_transports", settings=settings)

    def state_stores(self, settings: Settings) -> dict[str, Callable[[str], StateStore]]:
        """State store factories by URL scheme."""
        return self._mapped("asok_auth_state_stores", settings=settings)

    def login_methods(self, auth: Auth) -> dict[str, LoginMethod]:
        """Login methods by name."""
        return self._named("asok_auth_login_methods", lambda item: item.name, auth=auth)

    def second_factors(self, auth: Auth) -> dict[str, SecondFactor]:
        """Second factors by name. Raises ConfigurationError if a plugin's function raises."""
        return self._named("asok_auth_second_factors", lambda item: item.name, auth=auth)

    def _named(self, hook: str, name_of: Callable[[T], str], **arguments: object) -> dict[str, T]:
        def pairs(items: Iterable[T]) -> list[tuple[str, T]]:
            return [(name_of(item), item) for item in items]

        return self._gather(hook, pairs, arguments)

    def _mapped(self, hook: str, **arguments: object) -> dict[str, T]:
        def pairs(items: Mapping[str, T]) -> list[tuple[str, T]]:
            return list(items.items())

        return self._gather(hook, pairs, arguments)

    def _gather(
        self, hook: str, pairs: Callable[..., list[tuple[str, T]]], arguments: dict[str, object]
    ) -> dict[str, T]:
        """What every plugin gives, by name. One that raises, or gives a name twice, is kept out."""
        merged: dict[str, T] = {}
        owners: dict[str, str] = {}
        for plugin, call in self.callers(hook):
            try:
                given = [pair for result in call(**arguments) for pair in pairs(result)]
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                self.keep_out(self.info(plugin), f"{hook} raised {type(error).__name__}: {error}")
                continue
            clash = next((name for name, _ in given if name in merged), None)
            if clash is not None:
                reason = f"{hook} gives {clash!r}, which {owners[clash]!r} gives already"
                self.keep_out(self.info(plugin), reason)
                continue
            merged.update(given)
            owners.update((name, plugin) for name, _ in given)
        return merged

    # -- request hooks ---------------------------------------------------------------------------

    def permissions(self, user: User, on_error: ErrorHandler) -> Iterator[tuple[str, PermissionSet]]:
        """``(plugin, grants)`` of every plugin; one that raises grants nothing and is reported."""
        for plugin, call in self.callers("asok_auth_permissions"):
            try:
                given = [
                    result if isinstance(result, PermissionSet) else compile_grants(result)
                    for result in call(user=user)
                ]
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                on_error(plugin, error)
            else:
                yield from ((plugin, grants) for grants in given)

    def denies(
        self, user: User, permission: str, resource: object | None, on_error: ErrorHandler
    ) -> tuple[str, str] | None:
        """``(plugin, reason)`` of the first refusal, or None. A plugin that raises refuses."""
        arguments = {"user": user, "permission": permission, "resource": resource}
        return self._first_reason("asok_auth_denies", arguments, on_error)

    def before_login(self, attempt: LoginAttempt, on_error: ErrorHandler) -> tuple[str, str] | None:
        """``(plugin, reason)`` of the first refusal, or None. A plugin that raises refuses."""
        return self._first_reason("asok_auth_before_login", {"attempt": attempt}, on_error)

    def _first_reason(
        self, hook: str, arguments: dict[str, object], on_error: ErrorHandler
    ) -> tuple[str, str] | None:
        for plugin, call in self.callers(hook):
            try:
                reasons = call(**arguments)
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                on_error(plugin, error)
                return plugin, "This could not be checked just now."
            if reasons:
                return plugin, str(reasons[0])
        return None

    def event(self, event: Event) -> None:
        """Tell every observer; one that raises is logged and changes nothing."""
        for plugin, call in self.callers("asok_auth_event"):
            try:
                call(event=event)
            except Exception:  # observers never break what they observe
                logger.exception("Plugin %r failed on event %s.", plugin, event.name)

    # -- tools -----------------------------------------------------------------------------------

    def checks(self, auth: Auth) -> Iterator[Finding]:
        """Findings of every plugin; one that raises becomes a finding."""
        for plugin, call in self.callers("asok_auth_checks"):
            try:
                yield from [finding for result in call(auth=auth) for finding in result]
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                yield Finding(
                    plugin, "error", f"its check raised {type(error).__name__}: {error}", "Repair the plugin."
                )

    def commands(self, cli: typer.Typer, on_error: ErrorHandler) -> None:
        """Let every plugin add its subcommands; one that raises is reported."""
        for plugin, call in self.callers("asok_auth_commands"):
            try:
                call(cli=cli)
            except Exception as error:  # noqa: BLE001 - the hook's failure policy
                on_error(plugin, error)
