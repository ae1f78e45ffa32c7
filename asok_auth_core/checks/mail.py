"""Check that mail can be sent."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..errors import MailError
from ..types import Finding


def mail(auth: Auth) -> Iterator[Finding]:
    """Connect and log in to the mail server, without sending anything."""
    name = auth.settings.mail_transport
    if name in ("console", "file") and not auth.settings.app.debug:
        yield Finding(
            "mail",
            "error",
            f'AUTH["MAIL_TRANSPORT"] is {name!r}, which delivers no email.',
            'Set AUTH["MAIL_TRANSPORT"] to "smtp" and MAIL_HOST to your mail server.',
        )
        return
    if not auth.outbox.can_send:
        yield Finding(
            "mail",
            "info",
            "There is no mail server. No loaded plugin needs one; users get no notices by mail.",
            "To send them, set MAIL_HOST and MAIL_FROM.",
        )
        return
    try:
        auth.outbox.transport.check()
    except MailError as error:
        yield Finding(
            "mail",
            "error",
            error.message,
            "Check MAIL_HOST, MAIL_PORT, MAIL_USERNAME, MAIL_PASSWORD and MAIL_TLS, and that a firewall "
            "does not block the connection.",
        )
