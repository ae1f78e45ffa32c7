"""Pages on which support staff see and change how other users log in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from ..auth import Auth
from ..errors import NotFound, OAuthError
from ..flows.sessions import client_ip_of
from ..flows.support import change_account, may_change, require_viewer, view_account
from ..paths import SUPPORT_PATH
from ..types import User
from ..web import Route, WebRequest, WebResponse
from .confirmation import confirmation
from .messages import leave_message, take_message
from .problems import error_text
from .render import render

MAX_LENGTH = 320
"""Characters of an email address (RFC 5321, section 4.5.3.1)."""


@dataclass(frozen=True, slots=True)
class Step:
    """The texts of an action.

    ``done`` is what it did; the others are those of the page that asks first, if it does.
    """

    done: str
    question: str = ""
    warning: str = ""
    button: str = ""


STEPS = {
    "end-session": Step("The device was logged out."),
    "end-sessions": Step(
        "All devices were logged out.",
        "Log out all devices of this user?",
        "Logins in progress and mailed links are void too.",
        "Log out everywhere",
    ),
    "revoke-token": Step(
        "The token was revoked.",
        "Revoke this token?",
        "Programs that use it stop working at once. This cannot be undone.",
        "Revoke token",
    ),
    "unlink": Step(
        "The login was unlinked.",
        "Unlink this login?",
        "The user can link it again after logging in another way.",
        "Unlink",
    ),
    "reset-factor": Step(
        "The second factor was removed.",
        "Remove this second factor?",
        "Make sure first that it is the user who asks. The next login does not ask for this factor.",
        "Remove",
    ),
    "forget-browsers": Step("Every login asks for the second factor again."),
    "disable": Step(
        "The account is disabled.",
        "Disable this account?",
        "All sessions end, and the user cannot log in until the account is enabled again.",
        "Disable account",
    ),
    "enable": Step("The account is enabled."),
}
"""The texts of each of :data:`~asok_auth_core.flows.support.ACTIONS`."""


class SupportPages:
    """Look a user up; see how they log in; change it."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._revocable = auth.settings.token_revocation == "checked"  # noqa: S105 - not a password

    def routes(self) -> Iterable[Route]:
        """Both paths. GET changes nothing."""
        return (
            Route(SUPPORT_PATH, get=self.ask, post=self.look_up),
            Route(SUPPORT_PATH + "/{id}", get=self.show, post=self.change),
        )

    def ask(self, request: WebRequest) -> WebResponse:
        require_viewer(self._auth, request)
        return self._question(request)

    def look_up(self, request: WebRequest) -> WebResponse:
        """By POST: an email address in a URL would stand in logs."""
        require_viewer(self._auth, request)
        text = request.form.get("user", "").strip()[:MAX_LENGTH]
        users, by_email = self._auth.users, "@" in text
        user = users.by_email(text) if by_email else users.by_id(text) if text else None
        if user is not None:
            return WebResponse.see_other(_path(user))
        alike = users.ids_alike(text) if by_email else ()
        error = request.translate("There is no such user.")
        if alike:
            error = request.translate(
                "Several users have this email address in different spellings. Look up an ID: {ids}",
                ids=", ".join(alike),
            )
        return self._question(request, 404, text, error)

    def _question(
        self, request: WebRequest, status: int = 200, sent: str = "", error: str | None = None
    ) -> WebResponse:
        return render(self._auth, request, "auth/support.html", status=status, sent=sent, error=error)

    def show(self, request: WebRequest) -> WebResponse:
        return self._page(request, self._user(request), message=take_message(self._auth, request))

    def change(self, request: WebRequest) -> WebResponse:
        user = self._user(request)
        action, item = request.form.get("action", ""), request.form.get("item", "")
        step = STEPS.get(action)
        if step is None:
            return WebResponse.see_other(_path(user))
        if step.question:
            name = self._auth.users.email_of(user) or str(user.id)
            whose = request.translate("Account of {user}", user=name)
            asked = confirmation(
                self._auth,
                request,
                request.translate(step.question),
                f"{whose}. {request.translate(step.warning)}",
                request.translate(step.button),
                fields={"action": action, "item": item},
                back=_path(user),
            )
            if asked is not None:
                return asked
        try:
            change_account(self._auth, request, user, action, item)
        except OAuthError as error:
            return self._page(request, user, status=error.status, error=error_text(request, error))
        leave_message(self._auth, request, request.translate(step.done))
        return WebResponse.see_other(_path(user))

    def _user(self, request: WebRequest) -> User:
        """The user of the page. Raises NotFound, and what ``require_viewer`` raises."""
        require_viewer(self._auth, request)
        user = self._auth.users.by_id(request.params["id"])
        if user is None:
            raise NotFound("There is no such user.")
        return user

    def _page(
        self,
        request: WebRequest,
        user: User,
        *,
        status: int = 200,
        message: str | None = None,
        error: str | None = None,
    ) -> WebResponse:
        account = view_account(self._auth, request, user)
        return render(
            self._auth,
            request,
            "auth/support_user.html",
            status=status,
            account=account,
            labels={name: factor.label for name, factor in self._auth.second_factors.items()},
            sessions=[(one, client_ip_of(self._auth, one)) for one in account.sessions],
            changeable=may_change(self._auth, request, user),
            revocable=self._revocable,
            path=_path(user),
            message=message,
            error=error,
        )


def _path(user: User) -> str:
    return f"{SUPPORT_PATH}/{quote(str(user.id), safe='')}"
