"""The core's own second factor: recovery codes, which stand in for any other one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar
from urllib.parse import quote

from markupsafe import Markup

from ..auth import Auth
from ..contracts import SecondFactor
from ..flows.factor_policy import factor_names
from ..flows.recent_login import require_recent_login
from ..flows.recovery_codes import (
    NAME,
    recovery_codes,
    renew_recovery_codes,
    run_imports,
    waits_for_import,
)
from ..pages.confirmation import confirmation
from ..pages.messages import to_account
from ..pages.render import fragment, render
from ..paths import ACCOUNT_PATH, RECOVERY_CODES_PATH
from ..types import User
from ..web import Route, WebRequest, WebResponse


class RecoveryFactor(SecondFactor):
    """A recovery code in place of another factor.

    Its attempts are counted separately: an attacker with the first factor can use up the attempts for
    another factor's codes, but that does not lock the owner out.
    """

    name: ClassVar[str] = NAME
    label: ClassVar[str] = "Recovery code"
    backup: ClassVar[bool] = True

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self.codes = recovery_codes(auth)

    def is_enrolled(self, user: User) -> bool:
        return self.codes.remaining(str(user.id)) > 0 or waits_for_import(self._auth, user)

    def reset(self, user: User) -> None:
        self.codes.void(str(user.id))

    def is_imported(self, user: User) -> bool:
        return self.codes.is_imported(str(user.id)) or waits_for_import(self._auth, user)

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return fragment(self._auth, request, "auth/recovery_challenge.html", problem=problem)

    def verify(self, request: WebRequest, user: User) -> bool:
        run_imports(self._auth, user)
        return self.codes.claim(str(user.id), request.form.get("code", ""))

    def routes(self) -> Iterable[Route]:
        return (Route(RECOVERY_CODES_PATH, get=to_account, post=self._renew),)

    def account_block(self, request: WebRequest) -> Markup | None:
        user = request.user
        if user is None or not factor_names(self._auth, user).all:
            return None
        left = self.codes.remaining(str(user.id))
        return fragment(
            self._auth, request, "auth/recovery_account.html", left=left, renew_path=RECOVERY_CODES_PATH
        )

    def _renew(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        if factor_names(self._auth, user).all and self.codes.remaining(str(user.id)):
            question = confirmation(
                self._auth,
                request,
                request.translate("Create new recovery codes?"),
                request.translate("The codes that you have now stop working."),
                request.translate("Create new recovery codes"),
            )
            if question is not None:
                return question
        codes = renew_recovery_codes(self._auth, request)
        return show_recovery_codes(self._auth, request, codes, ACCOUNT_PATH)


def show_recovery_codes(
    auth: Auth, request: WebRequest, codes: tuple[str, ...], location: str
) -> WebResponse:
    """The page with new ``codes`` and a download, leading to ``location``."""
    heading = request.translate("Recovery codes for {app}", app=auth.settings.app_name)
    text = "\n".join((heading, "", *codes, ""))
    return render(
        auth,
        request,
        "auth/recovery_codes.html",
        codes=codes,
        download=f"data:text/plain;charset=utf-8,{quote(text)}",
        location=location,
    )
