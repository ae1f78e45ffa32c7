"""What ``asok-auth doctor`` looks at in the core. Each check returns what is wrong and the remedy.

A plugin adds its own through ``asok_auth_checks``; the core's come through the same hook.
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

Check = Callable[[Auth], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    secrets,
    transport,
    store,
    mail,
    providers,
    plugins,
    grants,
    second_factor,
    clock,
)


def findings(auth: Auth) -> Iterator[Finding]:
    """What every check of the core finds; a check that fails itself is a finding too."""
    for check in CHECKS:
        try:
            yield from check(auth)
        except Exception as error:  # noqa: BLE001 - doctor reports whatever is broken
            yield Finding(
                check.__name__,
                "error",
                f"This could not be checked: {type(error).__name__}: {error}",
                "Repair what the message names, then run asok-auth doctor again.",
            )
