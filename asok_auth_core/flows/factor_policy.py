"""Which users have a second factor and which must: ``AUTH["REQUIRE_2FA"]``.

The core keeps the names of each account's factors, so that a factor whose plugin is gone is still
required. They are learned when a factor is set up and when one is given at a login.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..auth import Auth
from ..contracts import SecondFactor
from ..errors import LoginRejected
from ..stores.rows import change_row
from ..types import JSON, Credential, User
from .factor_index import KIND as KIND
from .factor_index import kept_names, names_in
from .permissions import permissions_of
from .plugin_faults import ask, verdict

logger = logging.getLogger("asok_auth")


@dataclass(frozen=True, slots=True)
class FactorNames:
    """The names of one user's second factors, backups excepted.

    ``kept`` are those the core keeps, ``confirmed`` others that say so themselves, with True;
    ``doubtful`` are others that answered with neither True nor False.
    """

    kept: frozenset[str]
    confirmed: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """The factors that count: any one of them is enough, and one is needed."""
        return self.kept | self.confirmed | self.doubtful


def factor_names(auth: Auth, user: User) -> FactorNames:
    """The names of the user's second factors, available or not.

    Raises what a factor raises, and PluginFailed: then nothing is known, and the login is denied.
    """
    kept = kept_names(auth, str(user.id))
    said = {
        name: verdict(auth, factor, factor.is_enrolled, user)
        for name, factor in auth.second_factors.items()
        if not factor.backup and name not in kept
    }
    return FactorNames(
        kept,
        frozenset(name for name, enrolled in said.items() if enrolled is True),
        frozenset(name for name, enrolled in said.items() if enrolled is None),
    )


def enrolled_factors(auth: Auth, user: User) -> dict[str, SecondFactor]:
    """The second factors, by name, with which the user can log in.

    Raises LoginRejected if the user has one, but no plugin that can check it, and whatever a factor
    raises.
    """
    return available_factors(auth, user, factor_names(auth, user))


def available_factors(auth: Auth, user: User, names: FactorNames) -> dict[str, SecondFactor]:
    """As :func:`enrolled_factors`, for ``names`` that were just read."""
    if not names.all:
        return {}
    available = {
        name: factor
        for name, factor in auth.second_factors.items()
        if name in names.all
        or (factor.backup and verdict(auth, factor, factor.is_enrolled, user) is not False)
    }
    if not available:
        missing = ", ".join(sorted(names.all))
        auth.events.emit("second_factor.unavailable", user=user, factors=missing)
        logger.error(
            "User %s has the second factor %s, which no loaded plugin provides, so the login is rejected. "
            "Load the plugin, or run: asok-auth second-factor reset %s",
            user.id,
            missing,
            user.id,
        )
        raise LoginRejected(
            "The second factor of your account is not available at the moment. Please contact the "
            "administrators of {app}.",
            app=auth.settings.app_name,
        )
    return available


def change_factor_names(
    auth: Auth, user: User, change: Callable[[frozenset[str]], frozenset[str]]
) -> frozenset[str]:
    """Apply ``change`` to the names kept for ``user``; return the new names.

    ``change`` may be called several times, and may raise to leave all as it is. Raises StoreUnavailable.
    """
    user_id = str(user.id)
    names: frozenset[str] = frozenset()

    def changed(row: Credential | None) -> JSON:
        nonlocal names
        kept = names_in(row)
        names = change(kept)
        return None if names == kept else {"names": [*sorted(names)]}

    busy = "Your second factors are being changed in another session. Try again."
    change_row(auth.credentials, KIND, user_id, changed, owner=user_id, busy=busy)
    return names


def second_factor_required(auth: Auth, user: User) -> bool:
    """True if ``user`` must not log in without a second factor.

    If the setting is a pattern, it applies to users who have a permission that it matches, or may have
    one because a plugin failed to answer.
    """
    policy = auth.settings.require_2fa
    if isinstance(policy, bool):
        return policy
    held = permissions_of(auth, user)
    return bool(held.failed) or held.permissions.covers_any(policy)


def backup_factors(auth: Auth) -> tuple[str, ...]:
    """The names of the factors that only stand in for another one."""
    return tuple(name for name, factor in auth.second_factors.items() if factor.backup)


def void_factors(auth: Auth, user: User, *, keep: Collection[str]) -> int:
    """Remove the second factors of ``user`` except ``keep``; return their number.

    Imported ones stay too. A factor whose plugin is not loaded stays: nothing else can remove its data.
    """
    gone = {
        name: factor
        for name, factor in auth.second_factors.items()
        if name not in keep and verdict(auth, factor, factor.is_imported, user) is False
    }
    had = factor_names(auth, user).all
    for name, factor in gone.items():
        had |= {name} if factor.backup and verdict(auth, factor, factor.is_enrolled, user) else set()
        ask(auth, factor, factor.reset, user)
    change_factor_names(auth, user, lambda kept: kept - gone.keys())
    removed = had & gone.keys()
    for name in sorted(removed):
        auth.events.emit("second_factor.reset", user=user, method=name)
    return len(removed)
