"""What ``asok-auth doctor`` says about the app around its authentication."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from asok import Asok
from asok.orm import Model
from asok.orm.engines.base import BaseEngine

from ...engine.urls import is_loopback
from ...env_file import assignments
from ...types import Finding

NAME = "app"


def app_findings(app: Asok, model: type[Model], engine: BaseEngine) -> Iterator[Finding]:
    """Report settings of Asok with which logins fail, or users are logged out."""
    yield from _database(app, model, engine)
    config, debug = app.config, bool(app.config.get("DEBUG"))
    url = str(config.get("APP_URL") or os.environ.get("APP_URL") or "")
    is_public = not debug and bool(url) and not is_loopback(urlsplit(url).hostname or "")
    if str(config.get("SESSION_BACKEND")) == "memory" and not debug:
        yield Finding(
            NAME,
            "warning",
            'SESSION_BACKEND is "memory": with several workers, each has sessions of its own. Logins are not '
            "affected, but messages for the next page and CSRF tokens are.",
            'Set SESSION_BACKEND to "file" on one machine, or to "redis".',
        )
    if str(config.get("SESSION_SAMESITE", "Lax")).strip().lower() == "none":
        yield Finding(
            NAME,
            "warning",
            'SESSION_SAMESITE is "None", so browsers send the session cookie with requests of other sites.',
            'Set it to "Lax", the default, unless your pages must work in frames of other sites.',
        )
    if is_public and config.get("RATE_LIMIT", True):
        yield Finding(
            NAME,
            "info",
            f"Asok answers more than {config.get('RATE_LIMIT_PER_MINUTE', 100)} requests a minute from one IP"
            " address with 429, for each worker; people in one office may share an address.",
            "Raise RATE_LIMIT_PER_MINUTE. The attempts to log in have limits of their own.",
        )
    if is_public and url.startswith("https:") and not config.get("TRUSTED_PROXIES"):
        yield Finding(
            NAME,
            "warning",
            f"APP_URL is {url}, and TRUSTED_PROXIES is empty. Behind a proxy that ends TLS, every visitor has"
            " the proxy's IP address, so one visitor's failed attempts lock out all others.",
            "Set TRUSTED_PROXIES to the addresses of your proxies. Without one, there is nothing to do.",
        )


def _database(app: Asok, model: type[Model], engine: BaseEngine) -> Iterator[Finding]:
    named = dict(assignments(Path(app.root_dir, ".env"))).get("DATABASE_URL", "")
    used = str(getattr(engine, "dsn", None) or getattr(engine, "db_path", ""))
    kind = next((one for one in ("postgres", "mysql") if named.startswith(one)), None)
    if kind is not None and not used.startswith(kind):
        yield Finding(
            NAME,
            "error",
            "DATABASE_URL in .env names another database than the one in use: it was read after Asok's ORM "
            "had chosen, while `asok migrate` uses it.",
            "Set DATABASE_URL in the environment of the server (systemd unit, container) too.",
        )
    if not engine.table_exists(model._table):
        yield Finding(
            NAME,
            "error",
            f"The table {model._table} of {model.__name__} does not exist, so nobody can log in.",
            "Run asok migrate, against the database that the server uses.",
        )
