"""``asok-auth new-plugin``: every kind passes its contract suite as created."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asok_auth_core import cli
from asok_auth_core.commands.new_plugin import Kind, Plan, plain_name, templates, write
from asok_auth_core.errors import ConfigurationError
from asok_auth_core.registry import PluginRegistry

ROOT = Path(__file__).parents[2]
KINDS = sorted(kind.value for kind in Kind)


def test_every_kind_has_templates() -> None:
    assert sorted(templates()) == KINDS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind to the folder of a plugin written without a question."""
    folder = tmp_path_factory.mktemp("plugins")
    made = {}
    for kind in KINDS:
        plan = Plan(Kind(kind), f"my{kind}", f"My {kind}", f"https://{kind}.example")
        made[kind] = write(plan, folder)[0].parent
    return made


@pytest.fixture(scope="module")
def green(written: dict[str, Path]) -> str:
    """What one test run over all new plugins says."""
    folders = [str(folder) for folder in written.values()]
    tests = [str(folder / "tests") for folder in written.values()]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *tests, "-v", "--tb=short", "-p", "no:cacheprovider"),
            *("--import-mode=importlib", "-W", "error", "-c", os.devnull, "--rootdir", str(ROOT)),
        ],
        cwd=written["events"].parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr
    return run.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_its_suite(green: str, written: dict[str, Path], kind: str) -> None:
    module = written[kind].name.replace("-", "_")
    passed = re.findall(rf"test_{module}\.py::.+ PASSED", green)
    assert len(passed) >= 3, f"only {len(passed)} tests for {kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_loads_in_strict_mode(
    written: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(written[kind]))
    name = written[kind].name.replace("-", "_")
    registry = PluginRegistry(strict=True)
    registry.register(__import__(name), name)
    assert [info.state for info in registry.infos] == ["loaded"]
    monkeypatch.delitem(sys.modules, name)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["new-plugin", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_command_writes_files_and_prints_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("gitlab", "--kind", "oidc", "--label", "GitLab", "--issuer", "https://gitlab.com")
    code, out, _ = run(capsys, *arguments, "--into", str(tmp_path))
    assert code == 0
    assert "pip install -e ." in out
    source = (tmp_path / "asok-oauth-gitlab" / "asok_oauth_gitlab" / "__init__.py").read_text()
    assert 'issuer = "https://gitlab.com"' in source
    code_lines = [
        line for line in source.splitlines() if line.strip() and not line.startswith(('"""', "from"))
    ]
    assert len(code_lines) <= 12, "an OpenID provider costs at most twelve lines of code"
    code, _, err = run(capsys, *arguments, "--into", str(tmp_path))
    assert code == 1
    assert "already exists" in err


@pytest.mark.parametrize("kind", ["provider", "oidc"])
def test_a_new_providers_output_asks_for_credentials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Without them its button does not appear, and nothing else would say why."""
    _, out, _ = run(capsys, "my-lab", "--kind", kind, "--into", str(tmp_path))
    assert "MY_LAB_CLIENT_ID and MY_LAB_CLIENT_SECRET" in out
    assert 'AUTH["PROVIDERS"]["my_lab"]' in out
    readme = (tmp_path / "asok-oauth-my-lab" / "README.md").read_text()
    assert "`MY_LAB_CLIENT_ID`" in readme


def test_at_a_terminal_it_prompts_for_missing_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown kind is prompted for again; Enter accepts a default."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("oidk\noidc\nMy Lab Inc\n\n"))
    code, out, _ = run(capsys, "my-lab", "--into", str(tmp_path))
    assert code == 0
    assert out.count("Kind of plugin: provider, oidc, ") == 2
    assert "oidk" in out
    source = (tmp_path / "asok-oauth-my-lab" / "asok_oauth_my_lab" / "__init__.py").read_text()
    assert 'label = "My Lab Inc"' in source
    assert 'issuer = "https://my-lab.example"' in source


def test_every_kind_prints_how_to_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "my", "--kind", "signer", "--into", str(tmp_path))
    assert 'To use it in an app: Set AUTH["SIGNER"]' in out


def test_an_oauth2_provider_and_its_package_stay_small(written: dict[str, Path]) -> None:
    folder = written["provider"]
    source = (folder / "asok_oauth_myprovider" / "__init__.py").read_text().splitlines()
    assert len([line for line in source if line.strip()]) <= 30
    files = [path for path in folder.rglob("*") if path.suffix in (".py", ".toml")]
    assert sum(len([line for line in path.read_text().splitlines() if line]) for path in files) <= 80


@pytest.mark.parametrize("name", ["../up", "1st", "class", "", "a" * 40, "a b", "naïve"])
def test_invalid_names_are_rejected(name: str) -> None:
    with pytest.raises(ConfigurationError):
        plain_name(name)


def test_usual_prefixes_are_not_repeated() -> None:
    assert plain_name("asok-oauth-GitLab") == "gitlab"
    assert plain_name("asok-auth-my-store") == "my_store"


@pytest.mark.parametrize(
    "arguments",
    [
        ("x", "--kind", "oidc", "--issuer", "http://plain.example"),
        ("x", "--kind", "oidc", "--issuer", 'https://x.example"\nimport os'),
        ("x", "--kind", "oidc", "--label", '"""'),
        ("x",),
    ],
)
def test_names_that_are_not_python_identifiers_are_rejected(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code, _, err = run(capsys, *arguments, "--into", str(tmp_path))
    assert code == 1
    assert "asok-auth:" in err
    assert list(tmp_path.iterdir()) == []
