"""The transport in docs/write-a-mail-transport.md keeps the contract."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asok_auth_core.contracts import MailTransport
from asok_auth_core.errors import MailError, MailPermanent, MailTemporary
from asok_auth_core.events import Events
from asok_auth_core.mail.outbox import Outbox
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.testing.mail_transport import MailTransportContract, ReceivedMail, TransportUnderTest
from asok_auth_core.testing.waiting import PATIENCE
from asok_auth_core.types import OutgoingMail

PAGE = Path(__file__).parents[2] / "docs" / "write-a-mail-transport.md"


class Service(ThreadingHTTPServer):
    """Takes mails as JSON; ``status`` is what it answers."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/send"
        self.status = 200
        self.mails: list[ReceivedMail] = []


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            message = EmailMessage()
            message["Subject"] = given["subject"]
            message.set_content(given["text"])
            if given["html"] is not None:
                message.add_alternative(given["html"], subtype="html")
            self.server.mails.append(ReceivedMail((given["to"],), message))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as started:
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def documented(url: str) -> MailTransport:
    (code,) = re.findall(r"```python\n(import requests\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    made = names["PostTransport"](url, "auth@app.example")  # type: ignore[operator]
    assert isinstance(made, MailTransport)
    return made


class TestDocumentedTransport(MailTransportContract):
    @pytest.fixture
    def under_test(self, service: Service) -> TransportUnderTest:
        return TransportUnderTest(
            documented(service.url), lambda: service.mails, documented("http://127.0.0.1:9")
        )


@pytest.mark.parametrize(
    ("status", "kind", "state"),
    [
        (429, MailTemporary, "retrying"),
        (503, MailTemporary, "retrying"),
        (401, MailPermanent, "failed"),
        (422, MailPermanent, "failed"),
    ],
)
def test_its_answers_become_the_documented_errors(
    service: Service, status: int, kind: type[MailError], state: str
) -> None:
    service.status = status
    outbox = Outbox(documented(service.url), Events(Plugins(PluginRegistry()), time.time), first_retry=60)
    delivery = outbox.post(OutgoingMail("ann@app.example", "Hello", "text"))
    assert delivery.wait(PATIENCE) == state
    assert isinstance(delivery.error, kind)
    outbox.close(2)
