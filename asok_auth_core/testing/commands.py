"""Run ``asok-auth`` in a test, against an app that is running already."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType

from asok import Asok
from typer.testing import CliRunner

from ..adapters.asok import AuthExtension
from ..cli import build
from ..errors import AuthError


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command printed, and its exit status: 0 if it succeeded."""

    code: int
    output: str
    errors: str


def run_command(app: Asok, *arguments: str) -> CommandResult:
    """Run ``asok-auth`` with ``arguments``, for ``app``.

    An error that the command reports is in ``errors``; any other exception is raised.
    """
    extension = next(one for one in app.extensions.values() if isinstance(one, AuthExtension))
    wsgi = ModuleType("wsgi")
    wsgi.app = app  # type: ignore[attr-defined]
    kept = sys.modules.get("wsgi")
    sys.modules["wsgi"] = wsgi
    try:
        result = CliRunner().invoke(build(extension.auth.plugins), list(arguments))
    finally:
        del sys.modules["wsgi"]
        if kept is not None:
            sys.modules["wsgi"] = kept
    if result.exception is None or isinstance(result.exception, SystemExit):
        return CommandResult(result.exit_code, result.stdout, result.stderr)
    if isinstance(result.exception, AuthError):
        return CommandResult(1, result.stdout, f"{result.stderr}asok-auth: {result.exception.message}\n")
    raise result.exception
