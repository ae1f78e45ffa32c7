"""The pages on which users create and revoke their API tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..auth import Auth
from ..engine.keys import digest, new_handle
from ..errors import RateLimited
from ..flows.api_tokens import MAX_NAME, MAX_SCOPES, ApiToken, ApiTokens
from ..flows.permissions import permissions_in
from ..flows.recent_login import require_recent_login
from ..pages.confirmation import confirmation
from ..pages.messages import leave_message, to_account
from ..pages.problems import error_text
from ..pages.render import render
from ..paths import NEW_TOKEN_PATH, REVOKE_TOKEN_PATH
from ..types import User
from ..web import Route, WebRequest, WebResponse

DAY = 86_400
DAYS = (7, 30, 90, 365)
"""The lifetimes to choose from."""
DEFAULT_DAYS = "30"
NEVER = "never"
FORM_LIFETIME = 3600
"""Seconds for which a form that was sent twice creates one token."""
HOURLY = 30
"""Tokens that one user may create in an hour."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form of a new token, as sent.

    ``errors`` are translated texts by field: name, days, scopes.
    """

    name: str = ""
    days: str = DEFAULT_DAYS
    limited: bool = True
    scopes: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def expires_in(self) -> int | None:
        """Seconds, or None for a permanent token."""
        return None if self.days == NEVER else int(self.days) * DAY


class TokenPages:
    """Routes below ``/auth/token``."""

    def __init__(self, auth: Auth, tokens: ApiTokens) -> None:
        self._auth = auth
        self._tokens = tokens

    def routes(self) -> Iterable[Route]:
        """All routes. A GET of a form's URL leads to the account page."""
        if self._auth.settings.token_page:
            yield Route(NEW_TOKEN_PATH, get=self.show, post=self.create)
        yield Route(REVOKE_TOKEN_PATH, get=to_account, post=self.revoke)

    def show(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        held = self._held(request, user)
        return self._page(request, held, Wanted(limited=bool(held)))

    def create(self, request: WebRequest) -> WebResponse:
        """Create the token and show it, once."""
        user = require_recent_login(self._auth, request)
        held = self._held(request, user)
        wanted = self._read(request, held)
        if wanted.errors:
            return self._page(request, held, wanted, status=400)
        # The browser sends the form again when the page with the token is reloaded.
        sent = digest(f"{user.id}:{request.form.get('form', '')}")
        if not self._auth.state.add(f"token-form:{sent}", b"1", FORM_LIFETIME):
            leave_message(
                self._auth,
                request,
                request.translate("This token was already created. It is shown only once."),
            )
            return to_account(request)
        try:
            self._auth.limits.hit("token-create", str(user.id), limit=HOURLY, window=3600)
        except RateLimited as error:
            failed = Wanted(
                wanted.name, wanted.days, wanted.limited, wanted.scopes, {"name": error_text(request, error)}
            )
            return self._page(request, held, failed, status=error.status)
        scopes = wanted.scopes if wanted.limited else None
        token, made = self._tokens.create(str(user.id), wanted.expires_in, scopes, wanted.name)
        return render(self._auth, request, "auth/token_created.html", token=token, made=made)

    def revoke(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        token = self._find(user, request.form.get("token", ""))
        if token is None:
            return to_account(request)
        name = token.name or request.translate("this token")
        question = confirmation(
            self._auth,
            request,
            request.translate("Revoke {name}?", name=name),
            request.translate("Programs that use it stop working at once. This cannot be undone."),
            request.translate("Revoke {name}", name=name),
            fields={"token": token.id},
        )
        if question is not None:
            return question
        if self._tokens.revoke_id(str(user.id), token.id):
            leave_message(self._auth, request, request.translate("The token was revoked."))
        return to_account(request)

    def _find(self, user: User, token_id: str) -> ApiToken | None:
        return next((one for one in self._tokens.list(str(user.id)) if one.id == token_id), None)

    def _held(self, request: WebRequest, user: User) -> list[str]:
        """The permissions that the user can hand on, as patterns."""
        return sorted({grant.pattern for grant in permissions_in(self._auth, request, user).permissions})

    def _read(self, request: WebRequest, held: list[str]) -> Wanted:
        form = request.form
        errors: dict[str, str] = {}
        name = form.get("name", "").strip()
        if not 1 <= len(name) <= MAX_NAME:
            errors["name"] = request.translate(
                "Give the token a name of at most {most} characters.", most=MAX_NAME
            )
        days = form.get("days", "")
        if days not in self._lifetimes():
            errors["days"] = request.translate("Choose how long the token is valid.")
        limited = form.get("access") != "all"
        scopes = tuple(pattern for pattern in held if f"scope:{pattern}" in form)
        if limited and not 1 <= len(scopes) <= MAX_SCOPES:
            errors["scopes"] = request.translate("Choose 1 to {most} permissions.", most=MAX_SCOPES)
        return Wanted(name[:MAX_NAME], days, limited, scopes, errors)

    def _lifetimes(self) -> list[str]:
        """The lifetimes to choose from. A token that cannot be revoked must expire."""
        return [*map(str, DAYS), *([NEVER] if self._tokens.checked else [])]

    def _page(self, request: WebRequest, held: list[str], wanted: Wanted, status: int = 200) -> WebResponse:
        return render(
            self._auth,
            request,
            "auth/token_new.html",
            status=status,
            wanted=wanted,
            held=held,
            lifetimes=self._lifetimes(),
            longest_name=MAX_NAME,
            form_id=new_handle(self._auth.random),
            error=next(iter(wanted.errors.values()), None),
            path=NEW_TOKEN_PATH,
        )
