"""What stands for the mail transport of an app that has none."""

from __future__ import annotations

from ..contracts import MailTransport
from ..errors import MailPermanent
from ..types import OutgoingMail


class NoTransport(MailTransport):
    """Sends nothing. ``Outbox.can_send`` is False with it."""

    def send(self, mail: OutgoingMail) -> None:
        raise MailPermanent("This app has no mail server. Set MAIL_HOST and MAIL_FROM.")
