"""Which email address was verified for which account."""

from __future__ import annotations

from ..auth import Auth
from ..errors import CredentialExists
from ..stores.rows import add_row
from ..types import User

KIND = "email"


def mark_email_verified(auth: Auth, user: User, address: str) -> None:
    """Record that ``user`` verified the email ``address``.

    An email address is verified for one account at a time: the one that verified it last.
    """
    user_id = str(user.id)
    held = auth.credentials.find(KIND, address)
    if held is not None and held.user_id == user_id:
        return
    if held is not None:
        auth.credentials.remove(held)
    # Of two concurrent logins of the same user, both find the same row.
    if add_row(auth.credentials, user_id, KIND, address, {}).row.user_id != user_id:
        raise CredentialExists("Another account has verified this email address at the same time.")


def is_email_verified(auth: Auth, user: User, address: str) -> bool:
    """True if ``user`` verified the email ``address`` and no other user has since."""
    held = auth.credentials.find(KIND, address)
    return held is not None and held.user_id == str(user.id)


def verified_emails(auth: Auth, user: User) -> list[str]:
    """The email addresses that ``user`` verified, oldest first."""
    return [row.identifier for row in auth.credentials.list(str(user.id), KIND)]


def void_emails(auth: Auth, user: User) -> None:
    """Forget which email addresses ``user`` verified."""
    for row in auth.credentials.list(str(user.id), KIND):
        auth.credentials.remove(row)
