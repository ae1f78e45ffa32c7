"""The mailbox page, ``/auth/dev/mailbox``."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from asok_auth_core.plugin import (
    Auth,
    PermissionDenied,
    Route,
    WebRequest,
    WebResponse,
    is_loopback_host,
    is_loopback_ip,
    render,
)

from .settings import DevSettings
from .smtp_server import MAILBOX, Mailbox, StoredMail, mail_server

MESSAGE = "/auth/dev/mailbox/{number}"
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip")
LINKS_OPEN_A_TAB = '<base target="_blank">'


class MailboxPages:
    """Pages that only this machine can read."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._port = auth.settings.section(DevSettings).smtp_port

    @property
    def _mailbox(self) -> Mailbox:
        return mail_server(self._port).mailbox

    def routes(self) -> Iterable[Route]:
        """The list of mails, and each mail."""
        return (Route(MAILBOX, get=self._list, post=self._clear), Route(MESSAGE, get=self._show))

    def _list(self, request: WebRequest) -> WebResponse:
        _only_from_this_machine(request)
        server = mail_server(self._port)
        return render(
            self._auth,
            request,
            "auth/dev/mailbox.html",
            mails=server.mailbox.mails(),
            shown_time=_shown_time,
            mailbox_path=MAILBOX,
            address=f"{server.hostname}:{server.port}",
        )

    def _clear(self, request: WebRequest) -> WebResponse:
        _only_from_this_machine(request)
        self._mailbox.clear()
        return WebResponse.see_other(MAILBOX)

    def _show(self, request: WebRequest) -> WebResponse:
        _only_from_this_machine(request)
        mail = self._mailbox.find(request.params["number"])
        if mail is None:
            return render(self._auth, request, "auth/dev/no_message.html", status=404, mailbox_path=MAILBOX)
        return render(
            self._auth,
            request,
            "auth/dev/message.html",
            mail=mail,
            frame=LINKS_OPEN_A_TAB + mail.html if mail.html else "",
            shown_time=_shown_time,
            mailbox_path=MAILBOX,
        )


def _shown_time(mail: StoredMail) -> str:
    return datetime.datetime.fromtimestamp(mail.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _only_from_this_machine(request: WebRequest) -> None:
    """Raise PermissionDenied for clients on other machines, also behind a proxy.

    Also for any host but a loopback one: another website can point its own name at this machine (DNS
    rebinding), and its pages could then read what this address answers.
    """
    forwarded = any(header in request.headers for header in FORWARDED)
    local = is_loopback_ip(request.client_ip) and is_loopback_host(request.headers.get("Host"))
    if forwarded or not local:
        raise PermissionDenied(
            "The mailbox can be read only from the machine that runs the app, at a loopback address such as "
            "http://127.0.0.1:8000/auth/dev/mailbox."
        )
