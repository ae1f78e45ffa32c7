"""The account page: its sections, and what users do with their devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from markupsafe import Markup

from ..auth import Auth
from ..contracts import ACCOUNT_GROUPS, AccountGroup, AccountSection, LoginMethod, SecondFactor
from ..flows.current_user import require_session_login
from ..flows.plugin_faults import block
from ..flows.sessions import client_ip_of, end_other_sessions, end_own_session, sessions_of
from ..flows.support import supports
from ..flows.trusted_devices import forget_devices, trusted_devices
from ..paths import ACCOUNT_PATH, END_SESSION_PATH, END_SESSIONS_PATH, FORGET_BROWSERS_PATH, SUPPORT_PATH
from ..types import SessionRecord, User
from ..web import Route, WebRequest, WebResponse
from .messages import leave_message, take_message, to_account
from .render import fragment, render

HEADINGS: dict[AccountGroup, str] = {
    "login": "Login methods",
    "security": "Security",
    "devices": "Devices",
    "tokens": "API tokens",
    "data": "Your data",
}


class AccountPages:
    """The account page and the forms on it that belong to no plugin."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def routes(self) -> Iterable[Route]:
        """All routes. A GET of a form's URL leads to the account page."""
        return (
            Route(ACCOUNT_PATH, get=self.account),
            Route(END_SESSION_PATH, get=to_account, post=self.end_session),
            Route(END_SESSIONS_PATH, get=to_account, post=self.end_sessions),
            Route(FORGET_BROWSERS_PATH, get=to_account, post=self.forget_browsers),
        )

    def account(self, request: WebRequest) -> WebResponse:
        user = require_session_login(request)
        sections: dict[AccountGroup, list[Markup]] = {group: [] for group in ACCOUNT_GROUPS}
        for group, made in self._blocks(request, user):
            sections[group].append(made)
        return render(
            self._auth,
            request,
            "auth/account.html",
            sections=[(group, HEADINGS[group], blocks) for group, blocks in sections.items() if blocks],
            email=self._auth.users.email_of(user),
            message=take_message(self._auth, request),
            support_path=SUPPORT_PATH if supports(self._auth, request) else None,
        )

    def end_session(self, request: WebRequest) -> WebResponse:
        """End one of the user's other sessions."""
        if end_own_session(self._auth, request, request.form.get("session", "")):
            leave_message(self._auth, request, request.translate("The device was logged out."))
        return to_account(request)

    def end_sessions(self, request: WebRequest) -> WebResponse:
        end_other_sessions(self._auth, request)
        leave_message(self._auth, request, request.translate("All other devices were logged out."))
        return to_account(request)

    def forget_browsers(self, request: WebRequest) -> WebResponse:
        forget_devices(self._auth, require_session_login(request), client_ip=request.client_ip)
        text = request.translate("Every login asks for your second factor again.")
        leave_message(self._auth, request, text)
        return to_account(request)

    def _blocks(self, request: WebRequest, user: User) -> Iterator[tuple[AccountGroup, Markup]]:
        """Every block of the page with its section, in their order."""
        parts: list[LoginMethod | SecondFactor | AccountSection] = [
            *sorted(self._auth.login_methods.values(), key=lambda one: one.order),
            *self._auth.second_factors.values(),
            *self._auth.account_sections.values(),
        ]
        for part in parts:
            made = block(self._auth, part, part.account_block, request)
            if made is not None:
                yield (part.account_group if part.account_group in HEADINGS else "data"), made
        if (browsers := self._trusted_browsers(request, user)) is not None:
            yield "security", browsers
        yield (
            "devices",
            fragment(self._auth, request, "auth/devices.html", sessions=self._sessions(request, user)),
        )

    def _sessions(self, request: WebRequest, user: User) -> list[tuple[SessionRecord, str | None, bool]]:
        """The user's sessions, each with its client IP while kept; this one (True) first."""
        here = None if request.session_record is None else request.session_record.id
        found = sorted(sessions_of(self._auth, user), key=lambda record: record.id != here)
        return [(record, client_ip_of(self._auth, record), record.id == here) for record in found]

    def _trusted_browsers(self, request: WebRequest, user: User) -> Markup | None:
        """The block about browsers that skip the second factor, or None without any."""
        if not self._auth.settings.trusted_device:
            return None
        count = len(trusted_devices(self._auth, user))
        return fragment(self._auth, request, "auth/trusted_devices.html", count=count) if count else None
