"""Write emails as ``.eml`` files into a folder, for tests and demos."""

from __future__ import annotations

import os
import secrets as system_random
import time
from pathlib import Path

from ..contracts import MailTransport
from ..errors import MailPermanent, MailTemporary
from ..settings import MailSettings
from ..types import Clock, OutgoingMail, Random
from .message import Sender, build_message

DEFAULT_SENDER = "auth@localhost"


class FileTransport(MailTransport):
    """One file per email, for the server's system user only, sorted by time.

    A file appears with its whole content at once or not at all.
    """

    def __init__(
        self,
        settings: MailSettings,
        *,
        root: str | os.PathLike[str] = ".",
        clock: Clock = time.time,
        random: Random = system_random.token_bytes,
    ) -> None:
        self._directory = Path(root, settings.directory)
        self._sender = Sender.parse(settings.sender or DEFAULT_SENDER)
        self._clock = clock
        self._random = random

    @property
    def directory(self) -> Path:
        """The folder that holds the files."""
        return self._directory

    def send(self, mail: OutgoingMail) -> None:
        message = build_message(mail, self._sender, clock=self._clock, random=self._random)
        name = f"{int(self._clock() * 1_000_000):020d}-{self._random(6).hex()}"
        unfinished, finished = self._directory / f".{name}.part", self._directory / f"{name}.eml"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(unfinished, finished, message.as_bytes())
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise MailPermanent(
                f'AUTH["MAIL"]["DIRECTORY"] cannot be written to ({type(error).__name__}).'
            ) from None
        except OSError as error:
            raise MailTemporary(f"The email could not be written ({type(error).__name__}).") from None

    def _write(self, unfinished: Path, finished: Path, content: bytes) -> None:
        try:
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            unfinished.replace(finished)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
