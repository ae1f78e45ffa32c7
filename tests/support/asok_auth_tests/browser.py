"""A browser of an Asok app that fills in forms, and the mails of that app."""

from __future__ import annotations

import email
import email.policy
import html
import re
from email.message import EmailMessage
from pathlib import Path

from asok import Asok
from asok.testing import TestClient, TestResponse


class FormBrowser(TestClient):  # type: ignore[misc]  # Asok has no types
    """A TestClient that fills in forms."""

    def send_form(self, path: str, page: str | None = None, **fields: str) -> TestResponse:
        """Send ``fields``, and the hidden fields of ``page``, to ``path``."""
        return self.post(path, data={**hidden_fields(self.get(page or path).text), **fields})

    @property
    def user(self) -> str:
        """The email address of the current user, as the page at ``/`` shows it."""
        return str(self.get("/").text.splitlines()[0])


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden fields of all forms in ``page``."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {name: html.unescape(value) for name, value in found}


def mails(app: Asok) -> list[EmailMessage]:
    """The mails that ``app`` has sent to files, oldest first."""
    app.extensions["AuthExtension"].auth.outbox.flush(60)
    paths = sorted(Path(app.root_dir, ".asok", "mail").glob("*.eml"), key=lambda p: p.stat().st_mtime_ns)
    parsed = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]
    return [mail for mail in parsed if isinstance(mail, EmailMessage)]


def mail_text(mail: EmailMessage, kind: str = "plain") -> str:
    """The body of ``mail`` of this kind, ``plain`` or ``html``."""
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())
