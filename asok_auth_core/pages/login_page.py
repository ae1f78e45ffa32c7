"""The login page: a block of each login method."""

from __future__ import annotations

from ..auth import Auth
from ..contracts import LoginMethod
from ..engine.urls import safe_next
from ..errors import AuthError
from ..flows.last_method import last_method
from ..flows.plugin_faults import block
from ..web import WebRequest, WebResponse
from .render import render


def login_page(
    auth: Auth,
    request: WebRequest,
    method: LoginMethod | None = None,
    problem: AuthError | None = None,
    *,
    confirms: bool = False,
) -> WebResponse:
    """The login page; ``problem`` is why ``method`` rejected the form.

    Only this method's block gets the problem, whose status is that of the page. The page keeps the URL to go
    to afterwards, from the field or parameter ``next``. ``confirms``: a user who is logged in does so again,
    to confirm that it's them.
    """
    next_url = safe_next(request.form.get("next") or request.query.get("next"))
    last = last_method(auth, request)
    blocks = []
    for one in sorted(auth.login_methods.values(), key=lambda one: one.order):
        made = block(auth, one, one.login_block, request, problem if one is method else None)
        if made is not None:
            blocks.append((made, one.name == last))
    status = 200 if problem is None else problem.status
    email = None if request.user is None else auth.users.email_of(request.user)
    return render(
        auth,
        request,
        "auth/login.html",
        status=status,
        blocks=blocks,
        next_url=next_url,
        confirms=confirms,
        email=email,
    )
