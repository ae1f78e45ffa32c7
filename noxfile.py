"""Every check of this repository, one session each; ``nox -l`` explains them, ``nox`` runs them.

Nothing is tested from the source tree: core and every folder under ``plugins/`` are built into
wheels once a run, and each session installs those.
"""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False  # the session `interpreters` reports them
nox.options.sessions = [
    "interpreters",
    "lint",
    "imports",
    "types",
    "isolation",
    "tests",
    "coverage",
    "slow",
    "minimums",
    "thirdparty",
    "docs",
]
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
# Interpreters that pyenv keeps are found without being activated.
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
os.environ["PATH"] = os.pathsep.join(
    [os.environ.get("PATH", ""), *map(str, sorted(PYENV.glob("versions/3.1[0-3]*/bin")))]
)

ROOT = Path(__file__).parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
# One more than there are cores, since many tests wait for a server or a process.
EVERY_CORE = ("-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile", "--timeout", "300")
BUILD_ONLY = ("setuptools>=77", "build")
LEFT_OUT = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", "tests", ".*")

_wheels: list[str] = []


def wheels(session: nox.Session) -> list[str]:
    """Wheels of core and all plugins, built once per run from a copy without leftovers."""
    if not _wheels:
        session.install(*BUILD_ONLY)
        out = Path(session.cache_dir) / "wheels"
        shutil.rmtree(out, ignore_errors=True)
        for folder in (ROOT, *PLUGINS):
            build(session, folder, out)
        _wheels.extend(str(path) for path in sorted(out.glob("*.whl")))
        session.log("Built %s", ", ".join(Path(path).name for path in _wheels))
    return _wheels


def build(session: nox.Session, folder: Path, out: Path) -> None:
    """Build ``folder`` into a wheel in ``out``, from a copy, so that nothing stale gets into it."""
    copy = Path(session.create_tmp()) / "source" / folder.name
    shutil.rmtree(copy, ignore_errors=True)
    if folder == ROOT:
        copy.mkdir(parents=True)
        shutil.copytree(ROOT / "asok_auth_core", copy / "asok_auth_core", ignore=LEFT_OUT)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
    else:
        shutil.copytree(folder, copy, ignore=LEFT_OUT)
    session.run(
        *("python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)), silent=True
    )


def group(name: str) -> list[str]:
    """The dependency group ``name`` of core and of every plugin that has one."""
    found: list[str] = []
    for folder in (ROOT, *PLUGINS):
        project = nox.project.load_toml(folder / "pyproject.toml")
        if name in project.get("dependency-groups", {}):
            found += nox.project.dependency_groups(project, name)
    return sorted(set(found))


def install_all(session: nox.Session, *groups: str, constraints: Path | None = None) -> None:
    """Install the wheels and the dependency groups, and make sure the wheels are what is imported."""
    extra = [] if constraints is None else ["--constraint", str(constraints)]
    session.install(*extra, *wheels(session), *(item for name in groups for item in group(name)))
    session.run(
        *("python", "-I", "-c"),
        "import asok_auth_core, pathlib, sys;"
        "path = pathlib.Path(asok_auth_core.__file__);"
        "sys.exit(None if 'site-packages' in path.parts else f'{path} is not the installed package')",
        silent=True,
    )


@nox.session(venv_backend="none")
def interpreters(session: nox.Session) -> None:
    """Say which of Python 3.10 to 3.13 are here; fail only if none is."""
    missing = []
    for version in PYTHONS:
        probe = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
        names = [sys.executable, *_on_path(f"python{version}"), *_on_path("python3")]
        path = next((p for p in names if _answers(session, p, probe)), None)
        session.log("Python %s: %s", version, path or "MISSING")
        if path is None:
            missing.append(version)
    if len(missing) == len(PYTHONS):
        session.error(f"None of Python {', '.join(PYTHONS)} is on PATH, so nothing would be tested.")
    for version in missing:
        session.warn(f"NOT TESTED on Python {version}: there is no python{version} on PATH.")


def _on_path(name: str) -> list[str]:
    folders = os.environ.get("PATH", "").split(os.pathsep)
    return [path for folder in folders if (path := shutil.which(name, path=folder))]


def _answers(session: nox.Session, path: str, probe: str) -> bool:
    return (
        session.run(path, "-c", probe, external=True, silent=True, log=False, success_codes=range(256)) == ""
    )


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format, over everything."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def imports(session: nox.Session) -> None:
    """import-linter: layers import downward only, only the adapter imports asok, the engine is pure."""
    install_all(session, "imports")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over core and every plugin."""
    install_all(session, "types", "test")
    packages = [str(folder.relative_to(ROOT) / folder.name) for folder in PLUGINS]
    session.run("mypy", "asok_auth_core", *packages, "tests/typing")


@nox.session
def isolation(session: nox.Session) -> None:
    """Import each module alone, in its own process, with every warning an error."""
    install_all(session, "test")
    folders = [ROOT / "asok_auth_core", *(folder / folder.name for folder in PLUGINS)]
    modules = sorted(
        ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        for folder in folders
        for path in folder.rglob("*.py")
        if "scaffold" not in path.parts
    )

    def load(module: str) -> None:
        session.run("python", "-I", "-W", "error", "-c", f"import {module}", silent=True, log=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(load, modules))
    session.log("%d modules import alone without a warning.", len(modules))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """pytest without the slow proofs, on every interpreter that is here; arguments go to pytest."""
    install_all(session, "test", "coverage")
    arguments = session.posargs or ["-m", "not slow", *EVERY_CORE]
    if session.python != _covered() or session.posargs:
        session.run("pytest", *arguments)
        return
    for old in ROOT.glob(".coverage*"):
        old.unlink()
    pytest = str(Path(session.bin) / "pytest")
    session.run("coverage", "run", pytest, *arguments, env={"COVERAGE_FILE": str(ROOT / ".coverage")})


def _covered() -> str:
    """The interpreter whose test run is measured: the one that runs nox, or the lowest."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return own if own in PYTHONS else PYTHONS[0]


@nox.session
def coverage(session: nox.Session) -> None:
    """Lines and branches of core that `tests` ran through; fails below what holds today."""
    session.install(*group("coverage"))
    if not list(ROOT.glob(".coverage*")):
        session.error("No data: run `nox -s tests coverage` with the interpreter that nox runs on.")
    session.run("coverage", "combine", "--quiet", success_codes=[0, 1])
    session.run("coverage", "report")


@nox.session
def slow(session: nox.Session) -> None:
    """pytest with the slow proofs only (races over processes, kill -9, mutations), on one interpreter."""
    install_all(session, "test", "demo")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session(python=PYTHONS[0])
def minimums(session: nox.Session) -> None:
    """pytest with the lowest version of each dependency that our metadata allows."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("\n".join(lowest_versions()) + "\n")
    session.log("Lowest versions: %s", ", ".join(lowest_versions()))
    install_all(session, "test", constraints=constraints)
    session.run("pytest", "-m", "not slow", *EVERY_CORE, *session.posargs)


def lowest_versions() -> list[str]:
    """``name==lower bound`` for each dependency of core and plugins; of two bounds the higher holds.

    Raises ValueError for a dependency without a lower bound: the versions it works with are unknown.
    """
    projects = [nox.project.load_toml(f / "pyproject.toml")["project"] for f in (ROOT, *PLUGINS)]
    own = {project["name"] for project in projects}
    lowest: dict[str, Version] = {}
    for text in (text for project in projects for text in project.get("dependencies", [])):
        requirement = Requirement(text)
        bounds = [Version(s.version) for s in requirement.specifier if s.operator in (">=", "==", "~=")]
        if not bounds:
            raise ValueError(f"{text!r} has no lower bound.")
        if requirement.name not in own:
            lowest[requirement.name] = max([*bounds, *filter(None, [lowest.get(requirement.name)])])
    return [f"{name}=={version}" for name, version in sorted(lowest.items())]


@nox.session
def contracts(session: nox.Session) -> None:
    """The contract suites: all our plugins pass, every seeded fault fails."""
    install_all(session, "test")
    session.run(
        "pytest", "-k", "contract or mutant or unsafe or fault", "-v", "--no-header", *session.posargs
    )


@nox.session
def newplugins(session: nox.Session) -> None:
    """`asok-auth new-plugin` for every kind: built, installed, suite, ruff, mypy; `tests` does it unbuilt."""
    install_all(session, "test", "lint", "types")
    folder = Path(session.create_tmp()) / "new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kinds = ("provider", "oidc", "signer", "mail", "permissions", "store", "login", "factor", "events")
    for kind in kinds:
        session.run(
            "asok-auth", "new-plugin", f"my{kind}", "--kind", kind, "--into", str(folder), silent=True
        )
    made = sorted(str(path) for path in folder.iterdir())
    install_wheels(session, made)
    for path in made:
        with session.chdir(path):
            session.run("ruff", "check", ".", silent=True)
            session.run("ruff", "format", "--check", ".", silent=True)
            session.run(
                *("mypy", Path(path).name.replace("-", "_"), "tests"),
                env={"MYPY_CACHE_DIR": str(folder.parent / "mypy")},
                silent=True,
            )
            session.run("pytest", "-q", "--no-header", "-W", "error")
    session.run("asok-auth", "plugins")


@nox.session
def thirdparty(session: nox.Session) -> None:
    """Three plugins as third parties publish them: built as wheels, installed, tested, listed."""
    install_all(session, "test", "types")
    made = sorted(str(path.parent) for path in ROOT.glob("examples/plugins/*/pyproject.toml"))
    install_wheels(session, made)
    for path in made:
        with session.chdir(path):
            session.run("mypy", Path(path).name.replace("-", "_"))
            session.run("pytest", "-q", "--no-header", "-W", "error")
    session.run("asok-auth", "plugins")


def install_wheels(session: nox.Session, folders: list[str]) -> None:
    """Build each folder into a wheel, from a copy, and install them all as from an index."""
    session.install(*BUILD_ONLY)
    out = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(out, ignore_errors=True)
    for folder in folders:
        build(session, Path(folder), out)
    session.install("--no-deps", *(str(path) for path in out.glob("*.whl")))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site with strict links; `nox -s docs -- serve` shows it while you write."""
    install_all(session, "docs")
    if session.posargs == ["serve"]:
        session.run("mkdocs", "serve")
    else:
        session.run("mkdocs", "build", "--strict", "--site-dir", str(Path(session.create_tmp()) / "site"))


@nox.session
def demo(session: nox.Session) -> None:
    """Start the demo: a real server with every plugin, no keys, no internet; it prints where to go."""
    install_all(session, "demo")
    session.run("python", "examples/demo/serve.py", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Every journey of the demo in headless Chromium: mouse, keyboard alone, no JavaScript; axe-core."""
    chromium = _chromium(session)
    install_all(session, "browser", "demo")
    session.run("pytest", "tests/browser", *session.posargs, env={"CHROMIUM": chromium})


@nox.session
def screenshots(session: nox.Session) -> None:
    """Take the pictures of docs/images from the demo, light and dark, in headless Chromium."""
    chromium = _chromium(session)
    install_all(session, "browser", "demo")
    folder = str(ROOT / "docs" / "images")
    session.run("pytest", "tests/browser/pictures.py", env={"CHROMIUM": chromium, "PICTURES": folder})


def _chromium(session: nox.Session) -> str:
    """A Chromium on PATH or in CHROMIUM; on Debian as root, installed if it is missing."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", "-qq", external=True, silent=True)
        session.run("apt-get", "install", "-y", "-qq", "chromium", external=True, silent=True)
        found = shutil.which("chromium")
    if found is None:
        session.error("There is no chromium on PATH. Install it, or name one in the variable CHROMIUM.")
    return found


@nox.session
def bench(session: nox.Session) -> None:
    """Measure one thing: `nox -s bench -- tokens`, `permissions` or `stores`."""
    known = sorted(path.stem for path in ROOT.glob("benchmarks/*.py"))
    if not session.posargs or session.posargs[0] not in known:
        session.error(f"Say which one: nox -s bench -- {' | '.join(known) or '(there is none yet)'}")
    name, *arguments = session.posargs
    install_all(session)
    requirements = ROOT / "benchmarks" / f"requirements-{name}.txt"
    if requirements.exists():
        session.install("-r", str(requirements))
    session.run("python", f"benchmarks/{name}.py", *arguments)
