"""``asok-auth new-plugin``: create a package that passes its contract suite."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from pathlib import Path

import typer
from jinja2 import Environment, PackageLoader, StrictUndefined
from packaging.version import Version
from rich.console import Console
from rich.text import Text

from .. import __version__
from ..errors import ConfigurationError


class Kind(str, Enum):
    """The kind of plugin."""

    provider = "provider"
    oidc = "oidc"
    signer = "signer"
    mail = "mail"
    permissions = "permissions"
    store = "store"
    login = "login"
    factor = "factor"
    key = "key"
    """A login method and a second factor in one."""
    policy = "policy"
    route = "route"
    events = "events"
    command = "command"


PREFIXES = {
    Kind.provider: "asok-oauth-",
    Kind.oidc: "asok-oauth-",
    Kind.login: "asok-",
    Kind.factor: "asok-",
    Kind.key: "asok-",
}
SUMMARIES = {
    Kind.provider: "Log in with {label}",
    Kind.oidc: "Log in with {label}",
    Kind.signer: "The token signer {label}",
    Kind.mail: "The mail transport {label}",
    Kind.permissions: "Permissions from {label}",
    Kind.store: "The state store {label}",
    Kind.login: "The login method {label}",
    Kind.factor: "The second factor {label}",
    Kind.key: "The login method and second factor {label}",
    Kind.policy: "The policy {label}",
    Kind.route: "The pages of {label}",
    Kind.events: "The event observer {label}",
    Kind.command: "The command {label}",
}
CREDENTIALS = (
    "Set `{env}_CLIENT_ID` and `{env}_CLIENT_SECRET` in the environment, or `client_id` and `client_secret` "
    'in `AUTH["PROVIDERS"]["{name}"]`. The button then appears on the login page.'
)
USAGES = {
    Kind.provider: CREDENTIALS,
    Kind.oidc: CREDENTIALS,
    Kind.signer: 'Set `AUTH["SIGNER"]` to its algorithm.',
    Kind.mail: 'Set `AUTH["MAIL_TRANSPORT"]` to `"{short}"`.',
    Kind.permissions: "Its grants are merged with those of other plugins.",
    Kind.store: 'Set `AUTH["STATE_STORE"]` to `"{short}:///state.sqlite3"`.',
    Kind.login: "It appears on the login page.",
    Kind.factor: "Logins ask for it after the first factor.",
    Kind.key: "It appears on the login page, and logins of users who have it ask for it.",
    Kind.policy: "It can reject logins and deny permissions; the app does not start without it.",
    Kind.route: "Its page is `/{short}`, its endpoints are below `/api/{short}`; grant `{name}.*`.",
    Kind.events: "It receives every event.",
    Kind.command: "Run `asok-auth {short}`.",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The names in a new plugin, all derived from one."""

    kind: Kind
    name: str
    label: str
    issuer: str

    @property
    def distribution(self) -> str:
        return PREFIXES.get(self.kind, "asok-auth-") + self.name.replace("_", "-")

    @property
    def module(self) -> str:
        return self.distribution.replace("-", "_")

    def context(self) -> dict[str, str]:
        """The variables of the templates."""
        core = Version(__version__)
        words = {
            "name": self.name,
            "label": self.label,
            "env": self.name.upper(),
            "short": self.name.replace("_", "-"),
        }
        return {
            **words,
            "cls": "".join(part.capitalize() for part in self.name.split("_")),
            "distribution": self.distribution,
            "module": self.module,
            "issuer": self.issuer,
            "core": f"{core.major}.{core.minor}",
            "core_next": f"{core.major}.{core.minor + 1}",
            "summary": SUMMARIES[self.kind].format(**words),
            "usage": USAGES[self.kind].format(**words),
        }


def new_plugin(
    name: str = typer.Argument(help="The plugin's name, such as gitlab; package names derive from it."),
    kind: Kind | None = typer.Option(None, help="The kind of plugin."),
    label: str | None = typer.Option(None, help='The display name, as in "Continue with GitLab".'),
    issuer: str | None = typer.Option(None, help="For providers: the issuer, an https URL."),
    into: Path = typer.Option(Path(), help="The parent of the new package's folder."),
) -> None:
    """Create a plugin package that installs and passes its contract suite.

    Asks for missing options in a terminal. Without one, --kind is required and the others have defaults.
    """
    short = plain_name(name)
    asks = sys.stdin.isatty()
    if kind is None:
        if not asks:
            raise ConfigurationError(
                f"The kind of plugin is missing: --kind {'|'.join(kind.value for kind in Kind)}."
            )
        kind = typer.prompt("Kind of plugin: " + ", ".join(kind.value for kind in Kind), type=Kind)
    if label is None:
        usual = short.replace("_", " ").capitalize()
        label = typer.prompt("Display name", default=usual) if asks else usual
    if issuer is None and kind in (Kind.provider, Kind.oidc):
        usual = f"https://{short.replace('_', '-')}.example"
        issuer = typer.prompt("Issuer URL", default=usual) if asks else usual
    if issuer is not None and not re.fullmatch(r"https://[a-z0-9.-]+(:\d+)?(/[\w./-]*)?", issuer):
        raise ConfigurationError(f"The issuer must be an https URL without a query, got {issuer!r}.")
    if not label.isprintable() or set(label) & set("\"'\\{}<>"):
        raise ConfigurationError("The label must not contain quotes, braces, backslashes or < and >.")
    plan = Plan(kind, short, label, (issuer or "").rstrip("/"))
    _show(plan, write(plan, into))


def plain_name(name: str) -> str:
    """``name`` as a Python identifier, without the usual prefixes.

    Raises ConfigurationError.
    """
    short = re.sub(r"^asok[-_](oauth[-_]|auth[-_])?", "", name.lower()).replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,29}", short) or keyword.iskeyword(short):
        raise ConfigurationError(
            f"{name!r} is not a plugin name: use up to 30 lowercase letters, digits and -, a letter first."
        )
    return short


def write(plan: Plan, into: Path) -> list[Path]:
    """Write the package's files below ``into``.

    Raises ConfigurationError if its folder exists.
    """
    root = into / plan.distribution
    if root.exists():
        raise ConfigurationError(f"{root} already exists. Nothing was written.")
    environment = Environment(
        loader=PackageLoader("asok_auth_core", "scaffold"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Python and TOML; the variables are checked above
    )
    context = plan.context()
    targets = {
        "common/pyproject.toml.j2": root / "pyproject.toml",
        "common/README.md.j2": root / "README.md",
        f"{plan.kind.value}/plugin.py.j2": root / plan.module / "__init__.py",
        f"{plan.kind.value}/test_plugin.py.j2": root / "tests" / f"test_{plan.module}.py",
    }
    for template, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(environment.get_template(template).render(context), "utf-8")
    marker = root / plan.module / "py.typed"
    marker.touch()
    return [*targets.values(), marker]


def templates() -> frozenset[str]:
    """The kinds that have templates."""
    folder = resources.files("asok_auth_core") / "scaffold"
    return frozenset(entry.name for entry in folder.iterdir() if entry.name != "common")


def _show(plan: Plan, written: list[Path]) -> None:
    console = Console()
    for path in written:
        console.print(Text(f"wrote {path}"), soft_wrap=True)
    folder = written[0].parent
    console.print(
        Text.assemble(
            "\nNext:\n",
            (f"  cd {folder}\n  pip install -e . pytest hypothesis\n  pytest\n", "bold"),
            f"All tests pass now. Change {plan.module}/__init__.py, keep them passing, "
            "and list the plugin with: asok-auth plugins\n"
            f"To use it in an app: {plan.context()['usage'].replace('`', '')}",
        ),
        soft_wrap=True,
    )
