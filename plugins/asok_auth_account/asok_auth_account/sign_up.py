"""Who may open an account, with any login method: ``SIGN_UP`` and ``DOMAINS``.

What users agree to before that is in ``terms.py``.
"""

from __future__ import annotations

from asok_auth_core.plugin import (
    Auth,
    LoginAttempt,
    LoginRejected,
    Newcomer,
    current_request,
    error_text,
)

from .deletion import is_being_deleted
from .emails import is_reserved
from .invitations import find_invitation
from .settings import AccountSettings


def rejection(auth: Auth, attempt: LoginAttempt) -> str | None:
    """Why a newcomer may not open an account, or a user not log in; or None.

    In the user's language.
    """
    try:
        if isinstance(attempt.user, Newcomer):
            _check(auth, attempt.user.email, trusted=attempt.trusted)
        elif is_being_deleted(auth, attempt.user):
            raise LoginRejected("This account is being deleted.")
    except LoginRejected as error:
        request = current_request(auth)
        return error.message if request is None else error_text(request, error)
    return None


def _check(auth: Auth, email: str, *, trusted: bool) -> None:
    """Raise LoginRejected if nobody may open an account with ``email`` now.

    Where the address decides, the word of a provider that is not ``trusted`` for it does not count.
    """
    settings = auth.settings.section(AccountSettings)
    if is_reserved(auth, email):
        raise LoginRejected(
            "This email address was that of another account until recently, and that account can still have "
            "it back. Open the link in the email that said so, or try again later."
        )
    if settings.sign_up == "closed":
        raise LoginRejected(
            "There is no account with the email address {email}, and no new ones can be opened at {app}. If "
            "you have an account, log in with its email address.",
            email=email,
            app=auth.settings.app_name,
        )
    if trusted and find_invitation(auth, email) is not None:
        return
    if settings.sign_up == "invite":
        raise LoginRejected(
            "There is no account with the email address {email}, and you need an invitation to open one. If "
            "you have an account, log in with its email address.",
            email=email,
            app=auth.settings.app_name,
        )
    if not settings.admits(email):
        raise LoginRejected("Accounts cannot be opened with email addresses of this domain.")
    if settings.domains and not trusted:
        raise LoginRejected(
            "This login method is not trusted for your email address, so it cannot open an account here. "
            "Please log in another way first."
        )
