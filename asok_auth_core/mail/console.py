"""Print emails instead of sending them.

For development only: they hold login links.
"""

from __future__ import annotations

import secrets as system_random
import sys
import threading
import time
from typing import TextIO

from ..contracts import MailTransport
from ..errors import MailTemporary, SettingError
from ..settings import MailSettings
from ..types import Clock, OutgoingMail, Random
from .message import Sender, build_message

DEFAULT_SENDER = "auth@localhost"


class ConsoleTransport(MailTransport):
    """Writes headers and text to ``stream``, by default standard error."""

    def __init__(
        self,
        settings: MailSettings,
        *,
        debug: bool,
        stream: TextIO | None = None,
        clock: Clock = time.time,
        random: Random = system_random.token_bytes,
    ) -> None:
        if not debug:
            raise SettingError(
                'AUTH["MAIL_TRANSPORT"] is "console", which writes login links to the server\'s output. '
                'It works only with DEBUG on; set it to "smtp".'
            )
        self._sender = Sender.parse(settings.sender or DEFAULT_SENDER)
        self._stream = stream
        self._clock = clock
        self._random = random
        self._one_at_a_time = threading.Lock()

    def send(self, mail: OutgoingMail) -> None:
        message = build_message(mail, self._sender, clock=self._clock, random=self._random)
        lines = [f"{name}: {message[name]}" for name in ("From", "To", "Subject", "Date")]
        page = "\n".join(["-" * 72, *lines, "", mail.text.rstrip(), "-" * 72, ""])
        stream = self._stream or sys.stderr
        try:
            with self._one_at_a_time:
                stream.write(page)
                stream.flush()
        except (OSError, ValueError) as error:
            raise MailTemporary(f"The email could not be printed ({type(error).__name__}).") from None
