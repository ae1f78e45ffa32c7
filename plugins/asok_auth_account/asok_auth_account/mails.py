"""Compose mails as text and as HTML, and hand them to the outbox.

A mail's words are a template with the blocks ``subject``, ``text`` and ``action`` (the button's label);
blank lines separate the paragraphs of the text. ``auth/account/mail.txt`` and ``mail.html`` lay them out.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

from jinja2 import Template

from asok_auth_core.plugin import (
    ACCOUNT_PATH,
    Auth,
    Delivery,
    MailError,
    OutgoingMail,
    WebRequest,
    browser_name,
)

logger = logging.getLogger("asok_auth")

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Where:
    """The origin of what a mail reports; ``at`` is in seconds since the epoch."""

    at: float
    client_ip: str | None = None
    user_agent: str | None = None
    """None if nothing is known about the browser."""

    @classmethod
    def of(cls, auth: Auth, request: WebRequest) -> Where:
        """Here and now."""
        return cls(auth.clock(), request.client_ip, request.headers.get("User-Agent", ""))

    @property
    def browser(self) -> str | None:
        """Such as ``Firefox · Linux``.

        Empty for one that is not known, None without a browser.
        """
        return None if self.user_agent is None else browser_name(self.user_agent)


def compose(
    auth: Auth,
    to: str,
    language: str,
    words: str,
    *,
    where: Where | None = None,
    link: str | None = None,
    code: str | None = None,
    **context: object,
) -> OutgoingMail:
    """The mail with the words of the template ``words``, and a button to ``link``."""
    shared: dict[str, object] = {
        "_": functools.partial(auth.translate, language),
        "app_name": auth.settings.app_name,
        "language": language,
        "where": where,
        "link": link,
        "code": code,
        **context,
    }
    template = auth.templates.get_template(words)
    laid_out = {
        **shared,
        "subject": " ".join(_block(template, "subject", shared).split())[:200],
        "paragraphs": [
            part.strip() for part in _block(template, "text", shared).split("\n\n") if part.strip()
        ],
        "action": _block(template, "action", shared).strip(),
    }
    return OutgoingMail(
        to=to,
        subject=str(laid_out["subject"]),
        text=auth.templates.get_template("auth/account/mail.txt").render(laid_out),
        html=auth.templates.get_template("auth/account/mail.html").render(laid_out),
    )


def post(auth: Auth, mail: OutgoingMail) -> Delivery | None:
    """Hand ``mail`` to the outbox.

    One that it does not accept is logged, and None is returned: nothing else depends on it. Without a mail
    server none is handed over, and None is returned.
    """
    if not auth.outbox.can_send:
        return None
    try:
        return auth.outbox.post(mail)
    except MailError:
        logger.warning("A mail about an account could not be sent.", exc_info=True)
        return None


def link_to(auth: Auth, request: WebRequest | None, path: str = ACCOUNT_PATH) -> str | None:
    """The URL of ``path`` for a mail.

    None if neither APP_URL nor a request tells the app's host.
    """
    base = auth.settings.app.url or (None if request is None else request.base_url)
    return None if base is None else base + path


def _block(template: Template, name: str, context: dict[str, object]) -> str:
    """One block of ``template``, rendered by itself."""
    return "".join(template.blocks[name](template.new_context(context)))
