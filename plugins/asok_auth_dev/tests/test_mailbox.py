"""The mailbox pages in a real Asok app."""

from __future__ import annotations

import html
import os
import re
import smtplib
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from asok import Asok
from asok.testing import TestClient
from asok_auth_dev.smtp_server import MailServer

Browser = Callable[..., TestClient]
EVIL = "<script>alert(1)</script>"


def deliver(server: MailServer, text: str, html_part: str | None = None, subject: str = "Hello") -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "app@app.example", "ann@app.example", subject
    message.set_content(text)
    if html_part is not None:
        message.add_alternative(html_part, subtype="html")
    with smtplib.SMTP(server.hostname, server.port) as connection:
        connection.send_message(message)


def csrf(page: str) -> dict[str, str]:
    found = re.search(r'<input[^>]*name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found is not None
    return {"csrf_token": found[1]}


def test_a_user_logs_in_with_the_link_from_the_mailbox(browser_at: Browser) -> None:
    browser = browser_at()
    login = browser.get("/auth/login").body.decode()
    asked = browser.post("/auth/magic/send", data={"email": "ann@app.example", **csrf(login)})
    assert asked.status_code == 303
    listed = browser.get("/auth/dev/mailbox").body.decode()
    assert "ann@app.example" in listed
    [message] = re.findall(r'href="(/auth/dev/mailbox/\d+)"', listed)
    shown = browser.get(message).body.decode()
    link = html.unescape(re.findall(r'<a href="(https?://[^"]+/auth/magic/callback[^"]+)"', shown)[0])
    parts = urlsplit(link)
    confirm = browser.get(f"{parts.path}?{parts.query}").body.decode()
    token = re.search(r'name="token" value="([^"]+)"', confirm)
    assert token is not None
    browser.post("/auth/magic/callback", data={"token": token[1], **csrf(confirm)})
    assert "ann@app.example" in browser.get("/").body.decode()


def test_an_empty_mailbox_says_so_and_where_mail_goes(browser_at: Browser, server: MailServer) -> None:
    page = browser_at().get("/auth/dev/mailbox").body.decode()
    assert "No emails yet" in page
    assert f"127.0.0.1:{server.port}" in page


def test_the_newest_mail_is_first(browser_at: Browser, server: MailServer) -> None:
    deliver(server, "one", subject="First")
    deliver(server, "two", subject="Second")
    page = browser_at().get("/auth/dev/mailbox").body.decode()
    assert page.index("Second") < page.index("First")


def test_a_mails_content_is_escaped(browser_at: Browser, server: MailServer) -> None:
    deliver(
        server, f"{EVIL} https://app.example/link?a=1&b=2", f"<p>{EVIL}</p>\"><b onclick='x'>", subject=EVIL
    )
    browser = browser_at()
    listed = browser.get("/auth/dev/mailbox").body.decode()
    shown = browser.get("/auth/dev/mailbox/1").body.decode()
    assert EVIL not in listed
    assert EVIL not in shown
    assert html.escape(EVIL) in listed
    assert '<a href="https://app.example/link?a=1&amp;b=2" rel="noopener' in shown


def test_the_html_part_is_in_a_sandboxed_frame(browser_at: Browser, server: MailServer) -> None:
    deliver(server, "text", f'<a href="https://app.example/x">go</a>{EVIL}')
    shown = browser_at().get("/auth/dev/mailbox/1").body.decode()
    frame = re.search(r'<iframe[^>]*\bsandbox="([^"]*)"[^>]*\bsrcdoc="([^"]*)"', shown)
    assert frame is not None
    assert not {"allow-scripts", "allow-same-origin", "allow-forms", "allow-top-navigation"} & set(
        frame[1].split()
    )
    content = html.unescape(frame[2])
    assert content.startswith('<base target="_blank">')
    assert '<a href="https://app.example/x">go</a>' in content


def test_a_mail_without_html_has_no_frame(browser_at: Browser, server: MailServer) -> None:
    deliver(server, "text")
    assert "<iframe" not in browser_at().get("/auth/dev/mailbox/1").body.decode()


def test_a_mail_of_another_day_shows_its_date(app: Asok, browser_at: Browser, server: MailServer) -> None:
    deliver(server, "text", subject="Old")
    os.utime(Path(app.root_dir, ".asok", "mailbox", "1.eml"), (1_700_000_000, 1_700_000_000))
    server.mailbox.keep_in(Path(app.root_dir, "another"))  # forget what is in memory, as a restart does
    server.mailbox.keep_in(Path(app.root_dir, ".asok", "mailbox"))
    browser = browser_at()
    for path in ("/auth/dev/mailbox", "/auth/dev/mailbox/1"):
        assert re.search(r"<time>2023-11-1[45] \d\d:", browser.get(path).body.decode())


@pytest.mark.parametrize("number", ["0", "2", "x", "-1", "1.0", "\uff19", "1" * 5000])
def test_a_missing_mail_is_not_found(browser_at: Browser, server: MailServer, number: str) -> None:
    deliver(server, "text")
    answer = browser_at().get(f"/auth/dev/mailbox/{quote(number, safe='')}")
    assert answer.status_code == 404
    assert "Email not found" in answer.body.decode()


def test_deleting_all_mails_needs_the_csrf_token(browser_at: Browser, server: MailServer) -> None:
    deliver(server, "text")
    browser = browser_at()
    page = browser.get("/auth/dev/mailbox").body.decode()
    assert browser.post("/auth/dev/mailbox", data={}).status_code == 403
    assert len(server.mailbox.mails()) == 1
    assert browser.post("/auth/dev/mailbox", data=csrf(page)).status_code == 303
    assert server.mailbox.mails() == ()


@pytest.mark.parametrize(
    "client", ["192.0.2.1", "10.0.0.1", "", "2001:db8::1", "::ffff:192.0.2.1", "localhost"]
)
@pytest.mark.parametrize("path", ["/auth/dev/mailbox", "/auth/dev/mailbox/1"])
def test_other_machines_cannot_read_it(
    browser_at: Browser, server: MailServer, client: str, path: str
) -> None:
    deliver(server, "CANARY-LINK", subject="CANARY")
    answer = browser_at(client).get(path)
    assert answer.status_code == 403
    assert "CANARY" not in answer.body.decode()


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_requests_through_a_tunnel_or_proxy_cannot_read_it(browser_at: Browser, header: str) -> None:
    answer = browser_at().get("/auth/dev/mailbox", headers={header: "127.0.0.1"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:8000",
        "127.0.0.1.rebound.example",
        "localhost.rebound.example",
        "rebound@localhost",
        "localhost@rebound.example",
        "192.0.2.1",
        "localhost/",
        "[::1",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/auth/dev/mailbox", "/auth/dev/mailbox/1"])
def test_pages_of_another_website_cannot_read_it(
    browser_at: Browser, server: MailServer, host: str, path: str
) -> None:
    """DNS rebinding: another site's own name points to this machine."""
    deliver(server, "CANARY-LINK", subject="CANARY")
    answer = browser_at().get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "CANARY" not in answer.body.decode()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.0.0.2", "[::1]:8000"])
def test_loopback_hosts_can_read_it(browser_at: Browser, host: str) -> None:
    assert browser_at().get("/auth/dev/mailbox", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("client", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
def test_any_client_on_this_machine_can_read_it(browser_at: Browser, client: str) -> None:
    assert browser_at(client).get("/auth/dev/mailbox").status_code == 200


def test_it_is_not_a_login_method(browser_at: Browser) -> None:
    assert "/auth/dev" not in browser_at().get("/auth/login").body.decode()
