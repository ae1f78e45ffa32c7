"""The core's checks for ``asok-auth doctor``: problems and remedies.

Plugins add checks through ``asok_auth_checks``; the core registers its own through the same hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..auth import Auth
from ..types import Finding
from .clock import clock
from .grants import grants
from .mail import mail
from .plugins import plugins
from .providers import providers
from .second_factor import second_factor
from .secrets import secrets
from .store import store
from .transport import transport
from .users import users

Check = Callable[[Auth], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    secrets,
    transport,
    store,
    users,
    mail,
    providers,
    plugins,
    grants,
    second_factor,
    clock,
)


def findings(auth: Auth) -> Iterator[Finding]:
    """Run every check of the core; a check that raises is reported as a finding."""
    for check in CHECKS:
        try:
            yield from check(auth)
        except Exception as error:  # noqa: BLE001 - doctor reports whatever is broken
            yield Finding(
                check.__name__,
                "error",
                f"The check failed: {type(error).__name__}: {error}",
                "Fix what the message names, then run asok-auth doctor again.",
            )
