"""Ask before something that cannot be undone."""

from __future__ import annotations

from collections.abc import Mapping

from ..auth import Auth
from ..paths import ACCOUNT_PATH
from ..web import WebRequest, WebResponse
from .render import render

FIELD = "confirmed"


def confirmation(
    auth: Auth,
    request: WebRequest,
    question: str,
    text: str,
    button: str,
    *,
    fields: Mapping[str, str] | None = None,
    back: str = ACCOUNT_PATH,
) -> WebResponse | None:
    """A page that asks ``question`` before a form is acted on; None once confirmed.

    Its ``button`` sends ``fields`` to the same path again; its other link leads ``back``. The caller has
    translated all three texts.
    """
    if request.form.get(FIELD) == "yes":
        return None
    return render(
        auth,
        request,
        "auth/confirmation.html",
        question=question,
        text=text,
        button=button,
        fields=fields or {},
        back=back,
    )
