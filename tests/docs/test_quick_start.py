"""The app of docs/quick-start.md, built from its text and commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "quick-start.md").read_text("utf-8")
FILES = dict(re.findall(r"`([\w./]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))
LOG_IN = r"""
import html, re
from asok.testing import TestClient
from wsgi import app


class OnThisMachine:
    # The mailbox is shown on the same machine only, and the test client does not say where it is.

    def __getattr__(self, name):
        return getattr(app, name)

    def __call__(self, environ, start_response):
        return app({**environ, "REMOTE_ADDR": "127.0.0.1"}, start_response)


browser = TestClient(OnThisMachine())


def send(path, page, **fields):
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    return browser.post(path, data={**dict(hidden), **fields})


assert browser.get("/").headers["Location"] == "/auth/login"
send("/auth/magic/send", browser.get("/auth/login"), email="ada@example.org")
app.extensions["AuthExtension"].auth.outbox.flush(60)
mailbox = browser.get("/auth/dev/mailbox").text
message = html.unescape(re.search(r'href="(/auth/dev/mailbox/\d+)"', mailbox)[1])
shown = browser.get(message).text
link = re.search(r"http://127.0.0.1:8000(/auth/magic/callback\?token=[\w.%-]+)", shown)[1]
send("/auth/magic/callback", browser.get(link))
assert browser.get("/").text.startswith("Hello ada@example.org"), browser.get("/").text
assert browser.get("/auth/account").status_code == 200
"""


def run(folder: Path, *command: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_quick_start_works_as_written(tmp_path: Path) -> None:
    assert set(FILES) == {"wsgi.py", "src/models/user.py", "src/pages/page.py", ".env"}
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("…", "0f1e2d3c" * 8), "utf-8")
    for command in ("make migration", "migrate"):
        assert f"\n    asok {command}\n" in PAGE
        run(tmp_path, "-m", "asok", *command.split())
    run(tmp_path, "-c", LOG_IN)
