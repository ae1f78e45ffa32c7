"""``asok-auth doctor``: find problems of the app's authentication, with remedies."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.text import Text

from ..errors import AuthError
from ..types import Finding, Severity
from . import command_line

STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "blue"}
ORDER: tuple[Severity, ...] = ("error", "warning", "info")


def doctor(
    context: typer.Context,
    as_json: bool = typer.Option(False, "--json", help="Output JSON."),
    strict: bool = typer.Option(False, "--strict", help="Exit with status 1 on warnings too."),
) -> None:
    """Check the app's keys, https, store, mail, providers, plugins, grants, clock.

    Exits with status 1 if there is an error, so that a deploy script can stop, and with 0
    otherwise. Changes nothing and sends no email.
    """
    findings = examine(context)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    fatal = {"error", "warning"} if strict else {"error"}
    if any(finding.severity in fatal for finding in findings):
        raise typer.Exit(1)


def examine(context: typer.Context) -> list[Finding]:
    """Run every plugin's checks, worst findings first.

    An app that cannot start is one finding.
    """
    try:
        auth = command_line(context).auth()
    except AuthError as error:
        remedy = "The app cannot start until you do what the message says."
        return [Finding("start", "error", error.message, remedy)]
    except Exception as error:  # noqa: BLE001 - doctor reports whatever stops the app
        message = f"The app cannot start: {type(error).__name__}: {error}"
        remedy = "Fix the app so that it starts, then run asok-auth doctor again."
        return [Finding("start", "error", message, remedy)]
    return sorted(auth.plugins.checks(auth), key=lambda finding: ORDER.index(finding.severity))


def _show(findings: Sequence[Finding]) -> None:
    console = Console()
    for finding in findings:
        console.print(
            Text(f"{finding.severity:<8}", style=STYLES[finding.severity]),
            Text(f"{finding.check}: {finding.message}"),
            soft_wrap=True,
        )
        if finding.remedy:
            console.print(Text(f"{'':<9}{finding.remedy}", style="dim"), soft_wrap=True)
    counts = {kind: sum(f.severity == kind for f in findings) for kind in ORDER}
    if findings:
        console.print(
            ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts.items() if count)
        )
    else:
        console.print(Text("No problems found.", style="green"))
