"""Permission checks, decorators and awaitable twins under ASGI."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asok import Asok
from asok.orm import close_all_db_connections

from ..apps import Plugin, make_user


class TestASGI:
    def get(self, app: Asok, path: str, badge: str | None) -> tuple[int, str]:
        async def run() -> list[dict[str, Any]]:
            sent: list[dict[str, Any]] = []

            async def receive() -> dict[str, object]:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: dict[str, Any]) -> None:
                sent.append(message)

            headers = [(b"host", b"localhost"), *([(b"x-badge", badge.encode())] if badge else [])]
            target, _, query = path.partition("?")
            scope = {"type": "http", "method": "GET", "path": target, "query_string": query.encode()}
            # Asok leaves open what its threads opened; with one thread the test can close it.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
            called = app({**scope, "headers": headers, "client": ("127.0.0.1", 1)}, receive, send)
            await asyncio.wait_for(called, 20)
            await asyncio.to_thread(close_all_db_connections)
            return sent

        start, *bodies = asyncio.run(run())
        return start["status"], b"".join(message["body"] for message in bodies).decode()

    def test_snippet_decorator_and_twins(self, admin_app: Asok) -> None:
        make_user("ada@example.org", role="editor")
        make_user("bob@example.org", role="reader")
        assert self.get(admin_app, "/documented", "ada@example.org")[1].startswith("yes")
        assert self.get(admin_app, "/documented", "bob@example.org")[1].startswith("no")
        assert self.get(admin_app, "/awaited", "ada@example.org")[1].startswith("True True")
        assert self.get(admin_app, "/awaited", "bob@example.org")[1].startswith("False False")
        for path in ("/guarded", "/guarded_async", "/api/guarded"):
            assert self.get(admin_app, path, None)[0] == 401
            assert self.get(admin_app, path, "bob@example.org")[0] == 403
            status, body = self.get(admin_app, path, "ada@example.org")
            assert status == 200
            assert "got in" in body
        assert json.loads(self.get(admin_app, "/api/guarded", None)[1])["error"] == "login_required"

    def test_it_needs_no_thread_of_the_pool_that_asok_keeps_waiting(self, app: Asok) -> None:
        """As many requests at once as asyncio has threads used to stop the server."""
        make_user("ada@example.org", role="editor")
        for path in ("/awaited", "/guarded_async"):
            assert self.get(app, path, "ada@example.org")[0] == 200

    def test_the_admin(self, admin_app: Asok, plugin: Plugin) -> None:
        make_user("ada@example.org")
        plugin.grants["ada@example.org"] = ["posts.view"]
        assert self.get(admin_app, "/admin/posts", "ada@example.org")[0] == 200
        assert self.get(admin_app, "/admin/posts/new", "ada@example.org")[0] == 403
