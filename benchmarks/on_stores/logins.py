"""Measure whole logins by link in an Asok app, in one process on one core."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from asok import Asok
from asok.testing import TestClient
from rich.table import Table

from asok_auth_core.mail.outbox import Outbox
from asok_auth_core.plugin import MailTransport, hookimpl
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.types import OutgoingMail

from .places import Place

COLUMNS = ("store", "logins/s and core", "ms a login, median", "of it the app's CPU, ms", "requests a login")
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')
APP_URL = "https://app.example"
LINK = re.compile(APP_URL + r"\S+")


class Kept(MailTransport):
    """Keeps the last email, because the cost of a mail server is not measured here."""

    text = ""

    def send(self, mail: OutgoingMail) -> None:
        self.text = mail.text


class KeptMail:
    """The plugin that registers the transport."""

    __name__ = "kept-mail"

    def __init__(self) -> None:
        self.transport = Kept()

    @hookimpl
    def asok_auth_mail_transports(self) -> Mapping[str, Callable[[], MailTransport]]:
        return {"kept": lambda: self.transport}


def login(app: Asok, outbox: Outbox, mail: Kept, email: str) -> int:
    """Log in like a user; return the number of requests.

    Raises AssertionError if the login fails.
    """
    browser = TestClient(app)
    form = dict(HIDDEN.findall(browser.get("/auth/login").text))
    browser.post("/auth/magic/send", data={**form, "email": email})
    outbox.flush(5)
    link = urlsplit(LINK.search(mail.text)[0])
    path = f"{link.path}?{link.query}"
    form = dict(HIDDEN.findall(browser.get(path).text))
    browser.post(link.path, data=form)
    if not browser.get("/").text.startswith(email):
        raise AssertionError("the login failed")
    return 5


def measure(place: Place, folder: Path, logins: int, table: Table, progress: Callable[[str], None]) -> None:
    """Add a row: ``logins`` sequential logins of different users on one core."""
    progress(f"{place.name}: {logins:,} logins by link")
    mail = KeptMail()
    limits = {"SENDS_PER_CLIENT": 10**9, "SENDS_PER_EMAIL": 10**9}
    auth = {"STATE_STORE": place.url, "MAIL_TRANSPORT": "kept", "MAGIC_LINK": limits}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # the store's server uses the others
    logging.disable(logging.WARNING)
    try:
        with asok_app(
            folder, auth=auth, environ={"DEBUG": "false", "APP_URL": APP_URL}, plugins=[mail]
        ) as app:
            outbox = app.extensions["AuthExtension"].auth.outbox
            for number in range(10):
                login(app, outbox, mail.transport, f"warm{number}@example.org")
            seconds, cpu = [], time.process_time()
            for number in range(logins):
                start = time.perf_counter()
                requests = login(app, outbox, mail.transport, f"user{number}@example.org")
                seconds.append(time.perf_counter() - start)
            cpu = (time.process_time() - cpu) / logins
    finally:
        logging.disable(logging.NOTSET)
        os.sched_setaffinity(0, cores)
    table.add_row(
        place.name,
        f"{logins / sum(seconds):,.0f}",
        f"{sorted(seconds)[logins // 2] * 1000:.1f}",
        f"{cpu * 1000:.1f}",
        str(requests),
    )
