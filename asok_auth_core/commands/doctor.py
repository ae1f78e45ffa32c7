"""``asok-auth doctor``: what is wrong with this app's authentication, and what to do about it."""

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
    as_json: bool = typer.Option(False, "--json", help="For programs: a list of findings."),
    strict: bool = typer.Option(False, "--strict", help="Warnings end with status 1 too."),
) -> None:
    """Check secrets, https, store, mail, providers, plugins, grants and clock of the app.

    Ends with status 0 if nothing is wrong or there are only warnings, and with 1 if there is an
    error, so that a deploy script can stop. Nothing is changed and no mail is sent.
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
    """The findings of every plugin's checks, worst first; one if the app cannot even start."""
    try:
        auth = command_line(context).auth()
    except AuthError as error:
        return [Finding("start", "error", error.message, "Do what the message says; the app cannot start.")]
    except Exception as error:  # noqa: BLE001 - whatever stops the app, doctor says so
        message = f"The app cannot start: {type(error).__name__}: {error}"
        return [Finding("start", "error", message, "Repair the app until it starts, then run this again.")]
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
        console.print(Text("Nothing is wrong.", style="green"))
