"""Run a real Asok app in a temporary folder, and restore the process afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from asok import Asok
from asok.orm import MODELS_REGISTRY, Model, close_all_db_connections

from ..adapters.asok import AuthExtension
from ..settings import ENV_PREFIX

SECRET_KEY = "a key for tests only, with 32 bytes or more"  # noqa: S105 - for tests

USER_MODEL = """\
from asok import Field, Model


class User(Model):
    email = Field.String(unique=True, nullable=False)
    name = Field.String()
    is_active = Field.Boolean(default=True)
"""

HOME_PAGE = """\
def get(request):
    return request.user.email if request.user else "nobody"
"""


@contextmanager
def asok_app(
    root: Path,
    *,
    pages: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
    auth: Mapping[str, object] | None = None,
    config: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    database: str | None = None,
    plugins: Sequence[object] = (),
    extension: bool = True,
) -> Iterator[Asok]:
    """Yield an app below ``root`` with a User model, a home page and ``pages``.

    The home page at ``/`` shows the current user's email. ``pages`` maps paths below src/pages, such as
    ``shop/page.py``, to source, ``models`` those below src/models. ``auth`` is ``AUTH``, ``config`` the rest
    of ``app.config``; mails go to files in ``.asok/mail``. ``environ`` adds environment variables, such as
    SECRET_KEY, DEBUG and ``ASOK_AUTH_…``; those of the process that start with ``ASOK_AUTH_`` are not seen.
    ``database`` is a URL, by default of an SQLite file below ``root``. ``plugins`` are added to the installed
    ones. ``app.extensions["AuthExtension"].auth`` is the app's Auth.
    """
    database = database or f"sqlite://{root / 'db.sqlite3'}"
    for name, source in {"user.py": USER_MODEL, **(models or {})}.items():
        _write(root / "src" / "models" / name, source)
    for name, source in {"page.py": HOME_PAGE, **(pages or {})}.items():
        _write(root / "src" / "pages" / name, source)
    kept = dict(os.environ), list(sys.path), dict(MODELS_REGISTRY), Model._db_path
    # The developer's own settings, and ASOK_AUTH_KILLS, which scales the tests, must not reach this app.
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        del os.environ[name]
    os.environ.update(
        {"SECRET_KEY": SECRET_KEY, "DEBUG": "true", "DATABASE_URL": database, **(environ or {})}
    )
    Model._db_path = database
    MODELS_REGISTRY.clear()
    _forget_models()
    app = None
    registered: AuthExtension | None = None
    try:
        app = Asok(str(root))
        app.config.update(
            {
                "TOOLBAR": False,
                "RATE_LIMIT": False,
                "MAIL_FROM": "app@app.example",
                "AUTH": {"MAIL_TRANSPORT": "file", **(auth or {})},
                **(config or {}),
            }
        )
        for model in list(MODELS_REGISTRY.values()):
            model.create_table()
        if extension:
            registered = AuthExtension(plugins=plugins)
            app.register_extension(registered)
        yield app
    finally:
        if registered is not None and hasattr(registered, "auth"):
            registered.close()
        if app is not None:
            app._session_store.stop_cleanup_timer()
        close_all_db_connections()
        environment, sys.path[:], registry, Model._db_path = kept
        os.environ.clear()
        os.environ.update(environment)
        MODELS_REGISTRY.clear()
        MODELS_REGISTRY.update(registry)
        _forget_models()


def asgi_call(
    app: Asok,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> tuple[int, list[tuple[str, str]], str]:
    """Send an ASGI request; return status, headers (in lower case) and text.

    ``target`` is a path with or without a query; ``body`` is an encoded form.
    """
    path, _, query = target.partition("?")
    fixed = [("host", "localhost"), ("content-length", str(len(body)))]
    if body:
        fixed.append(("content-type", "application/x-www-form-urlencoded"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), text.encode("latin-1")) for name, text in [*fixed, *headers]],
        "client": ("127.0.0.1", 1234),
        "server": ("localhost", 80),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        await app(scope, receive, send)
        # Asok leaves a database connection open in each worker thread; the barrier makes both run.
        both = threading.Barrier(2)

        def close() -> None:
            both.wait()
            close_all_db_connections()

        await asyncio.gather(*(loop.run_in_executor(None, close) for _ in range(2)))
        close_all_db_connections()

    asyncio.run(run())
    start, *rest = sent
    found = [(name.decode().lower(), text.decode()) for name, text in start["headers"]]
    return start["status"], found, b"".join(message.get("body", b"") for message in rest).decode()


def _write(path: Path, source: str) -> None:
    """Write in one step, so that no process imports half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", encoding="utf-8", delete=False) as new:
        new.write(source)
    Path(new.name).replace(path)


def _forget_models() -> None:
    """Make ``from models.user import User`` find this app's file."""
    for name in [name for name in sys.modules if name == "models" or name.startswith("models.")]:
        del sys.modules[name]
