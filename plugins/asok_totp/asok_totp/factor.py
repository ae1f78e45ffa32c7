"""The second factor: an authenticator app."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from asok_auth_core.plugin import Auth, Route, SecondFactor, User, WebRequest, fragment

from .api import NAME, TotpApi
from .authenticator import Authenticators, check_code
from .importing import LoginImport
from .pages import MANAGE_PATH, TotpPages


class TotpFactor(SecondFactor):
    """Codes of an authenticator app."""

    name = NAME
    label = "Authenticator app"
    enrol_path = MANAGE_PATH

    def __init__(self, auth: Auth, authenticators: Authenticators, api: TotpApi) -> None:
        self._auth = auth
        self.authenticators = authenticators
        self._api = api
        self._pages = TotpPages(auth, api)
        self._imports = LoginImport(auth, authenticators)

    @property
    def api(self) -> TotpApi:
        return self._api

    def is_enrolled(self, user: User) -> bool:
        return self.authenticators.is_enrolled(str(user.id)) or self._imports.waits_for(user)

    def reset(self, user: User) -> None:
        self.authenticators.remove(str(user.id))
        self._imports.forget(user)

    def is_imported(self, user: User) -> bool:
        user_id = str(user.id)
        if self.authenticators.is_enrolled(user_id):
            return self.authenticators.is_imported(user_id)
        return self._imports.waits_for(user)

    def waits_for_import(self, user: User) -> bool:
        return self._imports.waits_for(user)

    def run_import(self, user: User) -> None:
        self._imports.run(user)

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return fragment(self._auth, request, "auth/totp/challenge.html", problem=problem)

    def verify(self, request: WebRequest, user: User) -> bool:
        self._imports.run(user)
        return check_code(self.authenticators, user, request.form.get("code", ""))

    def routes(self) -> Iterable[Route]:
        return self._pages.routes()

    def account_block(self, request: WebRequest) -> Markup:
        return fragment(self._auth, request, "auth/totp/account.html", standing=self._api.status(request))
