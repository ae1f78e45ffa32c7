"""Check that users can set up and use their second factors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from ..auth import Auth
from ..flows.factor_index import KIND, names_in
from ..stores.rows import rows_of_kind
from ..types import Finding

READ = 10_000
"""Accounts whose factors are looked at."""


def second_factor(auth: Auth) -> Iterator[Finding]:
    """Report a required factor that nobody can set up, and factors without a plugin."""
    yield from _missing(auth)
    yield from _not_imported(auth)
    if auth.settings.require_2fa is False:
        return
    if not any(factor.enrol_path for factor in auth.second_factors.values()):
        yield Finding(
            "second_factor",
            "error",
            f'AUTH["REQUIRE_2FA"] is {auth.settings.require_2fa!r}, but no plugin has a second factor that '
            "users can set up: users without one cannot log in.",
            "Install asok-totp, or set REQUIRE_2FA to False.",
        )


def _not_imported(auth: Auth) -> Iterator[Finding]:
    """Report authenticator apps that the framework still keeps."""
    framework = auth.users.framework_factors()
    count = 0 if framework is None else framework.count()
    if count:
        yield Finding(
            "second_factor",
            "warning",
            f"Users with two-factor authentication from Asok's Admin that is not imported yet: {count}. "
            "asok-totp imports it when they log in next; until then the Admin stays shut for them.",
            "Install asok-totp and run: asok-auth totp import",
        )


def _missing(auth: Auth) -> Iterator[Finding]:
    """Report factors that users have and no loaded plugin provides."""
    users: Counter[str] = Counter()
    seen = 0
    for row in islice(rows_of_kind(auth.credentials, KIND), READ):
        users.update(names_in(row) - auth.second_factors.keys())
        seen += 1
    for name, count in sorted(users.items()):
        yield Finding(
            "second_factor",
            "error",
            f"No loaded plugin provides the second factor {name!r}. Users who have it: {count}"
            f"{' or more' if seen >= READ else ''}; they cannot log in without another one.",
            "Install its plugin again, or reset the factor: asok-auth second-factor reset USER.",
        )
