"""The page that asks for a second factor, to log in or to confirm a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from markupsafe import Markup

from ..auth import Auth
from ..contracts import SecondFactor
from ..errors import AuthError, CredentialRejected, RateLimited, SealError
from ..flows.challenge import begin_challenge, has_begin
from ..flows.plugin_faults import markup
from ..types import User
from ..web import WebRequest, WebResponse
from .problems import error_text, unreadable_text
from .render import render


@dataclass(frozen=True, slots=True)
class Challenge:
    """Who is asked for a second factor, where and why.

    ``heading`` and ``button`` are translated texts. ``handle`` names what it is for: see
    ``begin_challenge``. ``next_url`` is kept in the form; None if the server knows where to go.
    ``trust_days``: 0 if the browser cannot be trusted here.
    """

    user: User
    factors: Mapping[str, SecondFactor]
    path: str
    again_path: str
    handle: str
    heading: str
    button: str
    other_way: tuple[str, str]
    """Path and text of the last link."""
    next_url: str | None = field(default=None, repr=False)
    trust_days: int = 0

    def chosen(self, request: WebRequest) -> SecondFactor:
        """The factor that the request names, or the first one."""
        wanted = request.form.get("factor") or request.query.get("factor") or ""
        return self.factors.get(wanted) or next(iter(self.factors.values()))

    def link(self, factor: SecondFactor, **more: str) -> str:
        """The page for ``factor``."""
        kept = {} if self.next_url is None else {"next": self.next_url}
        return f"{self.path}?{urlencode({'factor': factor.name, **kept, **more})}"


def challenge_page(
    auth: Auth,
    request: WebRequest,
    asked: Challenge,
    error: CredentialRejected | RateLimited | SealError | None = None,
) -> WebResponse:
    """The page for the factor that ``request`` names; ``error``: why again."""
    factor = asked.chosen(request)
    others = [other for other in asked.factors.values() if other is not factor]
    text = None if error is None else error_text(request, error)
    status = 200 if error is None else error.status
    fields: Markup | None = None
    try:
        if isinstance(error, SealError):
            raise error
        if error is None and request.method != "HEAD":
            begin_challenge(auth, request, asked.user, factor, asked.handle)
        problem = text if isinstance(error, CredentialRejected) else None
        fields = markup(auth, factor, factor.challenge, request, asked.user, problem)
    except RateLimited as limited:
        return challenge_page(auth, request, asked, limited)
    except AuthError as failed:
        if not others:
            raise
        status = failed.status
        if isinstance(failed, SealError):
            text = unreadable_text(auth, request)
        else:
            text = request.translate("This method does not work at the moment. Please use another one.")
    return render(
        auth,
        request,
        "auth/second_factor.html",
        status=status,
        asked=asked,
        email=auth.users.email_of(asked.user),
        factor=factor,
        others=others,
        challenge=fields,
        again_path=asked.again_path if fields is not None and has_begin(factor) else None,
        done_again="again" in request.query,
        error=text,
    )


def challenge_again(auth: Auth, request: WebRequest, asked: Challenge) -> WebResponse:
    """Start the challenge of the chosen factor again, as its button asks."""
    factor = asked.chosen(request)
    try:
        begin_challenge(auth, request, asked.user, factor, asked.handle, again=True)
    except RateLimited as error:
        return challenge_page(auth, request, asked, error)
    return WebResponse.see_other(asked.link(factor, again="1"))
