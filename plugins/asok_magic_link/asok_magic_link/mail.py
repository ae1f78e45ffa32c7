"""Compose the login email."""

from __future__ import annotations

import re
import time

from asok_auth_core.plugin import Auth, IssuedProof, OutgoingMail, WebRequest, browser_name, fragment


def compose(
    auth: Auth,
    request: WebRequest,
    email: str,
    issued: IssuedProof,
    link: str,
    lifetime: int,
    subject: str | None = None,
    template: str | None = None,
) -> OutgoingMail:
    """Compose the login email."""
    context: dict[str, object] = {
        "link": link,
        "code": f"{issued.code[:4]}-{issued.code[4:]}",
        "minutes": max(1, lifetime // 60),
        "asked_at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(auth.clock())),
        "browser": browser_name(request.headers.get("User-Agent", "")),
        "client": request.client_ip,
    }
    title = request.translate("Log in to {app}", app=auth.settings.app_name)
    return OutgoingMail(
        to=email,
        subject=_one_line(subject or title),
        text=str(
            auth.templates.get_template("auth/magic/mail.txt").render(**context, **_words(auth, request))
        ),
        html=str(fragment(auth, request, template or "auth/magic/mail.html", **context)),
    )


def _words(auth: Auth, request: WebRequest) -> dict[str, object]:
    return {"_": request.translate, "app_name": auth.settings.app_name}


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:200].strip()
