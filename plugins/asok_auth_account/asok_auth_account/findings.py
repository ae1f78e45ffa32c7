"""What ``asok-auth doctor`` says about accounts."""

from __future__ import annotations

from collections.abc import Iterator

from asok_auth_core.plugin import Auth, Finding

from .deletion import Deletions, order_row
from .settings import AccountSettings
from .user_creation import files_creating_users

LATE = 86_400
"""Seconds after which an account that is still there has been forgotten."""
NAMED = 5
"""How many files are named in one line."""


def findings(auth: Auth) -> Iterator[Finding]:
    """See ``asok_auth_checks``."""
    yield from _uncovered(auth)
    late = [row for row in Deletions(auth).due() if order_row(row).due <= auth.clock() - LATE]
    if late:
        yield Finding(
            "account",
            "error",
            f"{len(late)} accounts should have been deleted a day ago or earlier.",
            "Run asok-auth account purge once an hour, and see what it says.",
        )


def _uncovered(auth: Auth) -> Iterator[Finding]:
    """Hint at code of the app that opens accounts without asking the policy."""
    settings = auth.settings.section(AccountSettings)
    keys = {
        "SIGN_UP": settings.sign_up != "open",
        "DOMAINS": bool(settings.domains),
        "TERMS": settings.terms is not None,
    }
    limits = [key for key, is_set in keys.items() if is_set]
    model, root = auth.users.model_name() if limits else None, auth.settings.app.root
    files = [] if model is None else files_creating_users(root / "src", model)
    if not files:
        return
    named = ", ".join(path.relative_to(root).as_posix() for path in files[:NAMED])
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    yield Finding(
        "account",
        "info",
        f"The app's own code creates users without asking {', '.join(limits)}: {named}{more}.",
        'AUTH["ACCOUNT"] covers the pages of asok-auth. Let users sign up there, or check in these files who '
        "may open an account.",
    )
