"""The walk of one magic link in docs/architecture.md is true of the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from asok_auth_tests.browser import FormBrowser, hidden_fields, mail_text, mails

from asok_auth_core.testing import asok_app

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def steps() -> list[tuple[str, str]]:
    """``(file, function)`` of each row of the table."""
    walk = PAGE.read_text("utf-8").split("## One magic link")[1].split("\n## ")[0]
    return re.findall(r"^\| \d \| `([\w/.]+)`: `(\w+)` \|", walk, re.MULTILINE)


def test_a_magic_link_takes_the_documented_walk(tmp_path: Path) -> None:
    documented = steps()
    taken: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            taken.extend(
                (file, function)
                for file, function in documented
                if frame.f_code.co_name == function and frame.f_code.co_filename.endswith(f"/{file}")
            )

    with asok_app(tmp_path, auth={"PLUGINS": ["magic-link"]}) as app:
        browser = FormBrowser(app)
        browser.send_form("/auth/magic/send", page="/auth/login", email="ada@example.org")
        link = urlsplit(re.search(r"http://localhost\S+", mail_text(mails(app)[-1]))[0])
        fields = hidden_fields(browser.get(f"{link.path}?{link.query}").text)
        profiler = sys.getprofile()
        sys.setprofile(note)
        try:
            answer = browser.post("/auth/magic/callback", data=fields)
        finally:
            sys.setprofile(profiler)
        assert answer.status_code == 303
        assert browser.user == "ada@example.org"
    emit = documented[-1]
    assert [step for step in taken if step != emit] == documented[:-1]
    assert taken[-1] == emit
