"""Every check of this repository, one session each; ``nox -l`` explains them.

``nox`` runs ``checks`` and ``tests``; ``nox -s full`` runs everything else. Nothing is tested from the
source tree: core and every folder under ``plugins/`` are built into wheels once a run, and each session
installs those.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False  # the session `interpreters` reports them
nox.options.sessions = ["checks", "tests"]
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
# Interpreters that pyenv keeps are found without being activated, and before its shims, which fail.
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
os.environ["PATH"] = os.pathsep.join(
    [*map(str, sorted(PYENV.glob("versions/3.1[0-3]*/bin"))), os.environ.get("PATH", "")]
)

ROOT = Path(__file__).parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHERS = [version for version in PYTHONS if version != OWN]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
CHECKS = ("types", "docs", "imports", "isolation", "lint")
FULL = (
    "interpreters",
    "debian",
    *(f"matrix-{version}" for version in OTHERS if version != PYTHONS[0]),
    "minimums",  # on Python 3.10
    "slow",
    "browser",
    "thirdparty",
    "newplugins",
)
DEBIAN = {
    "mariadb-server": "mariadbd",
    "oathtool": "oathtool",
    "faketime": "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "chromium": "chromium",
    "nginx": "/usr/sbin/nginx",
}
"""Debian packages that tests need; for each a command or file that shows whether it is installed."""

# One more than there are cores, since many tests wait for a server or a process.
EVERY_CORE = ("-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal")
QUICK = ("-m", "not slow", *EVERY_CORE)
# What these read is the same for every interpreter and every version of a dependency: the docs, this
# repository, the contract suites with their seeded faults, random sequences of logins.
ONCE = (
    *("tests/docs", "tests/test_docs.py", "tests/test_plugin_api.py", "tests/test_repository.py"),
    *("tests/testing", "tests/stores/test_contract.py", "tests/stores/test_credential_contract.py"),
    *("tests/flows/test_crash_machine.py", "tests/flows/test_pipeline_machine.py"),
    *("tests/flows/test_tenant_machine.py", "tests/commands/test_new_plugin.py"),
)
REPEATED = (*QUICK, *(f"--ignore={path}" for path in ONCE))
BUILD_ONLY = ("setuptools>=77", "build")
LEFT_OUT = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", "tests", ".*")

_wheels: list[str] = []


def wheels(session: nox.Session) -> list[str]:
    """Build wheels of core and all plugins once per run, from a clean copy."""
    if not _wheels:
        out = Path(os.environ.get("WHEELS") or Path(session.cache_dir) / "wheels")
        if "WHEELS" not in os.environ:
            session.install(*BUILD_ONLY)
            shutil.rmtree(out, ignore_errors=True)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda folder: build(session, folder, out), (ROOT, *PLUGINS)))
        _wheels.extend(str(path) for path in sorted(out.glob("*.whl")))
        session.log("Wheels: %s", ", ".join(Path(path).name for path in _wheels))
    return _wheels


def build(session: nox.Session, folder: Path, out: Path) -> None:
    """Build ``folder`` into a wheel in ``out``, from a copy without leftovers."""
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
    """Install the wheels and the dependency groups; check what is imported."""
    extra = [] if constraints is None else ["--constraint", str(constraints)]
    # Asok forbids Python to write bytecode, so every process of a test would compile all modules again.
    session.install(
        *extra,
        *wheels(session),
        *(item for name in groups for item in group(name)),
        env={"UV_COMPILE_BYTECODE": "1"},
    )
    session.run(
        *("python", "-I", "-c"),
        "import asok_auth_core, pathlib, sys;"
        "path = pathlib.Path(asok_auth_core.__file__);"
        "sys.exit(None if 'site-packages' in path.parts else f'{path} is not the installed package')",
        silent=True,
    )


def install_wheels(session: nox.Session, folders: list[str]) -> None:
    """Build each folder into a wheel, from a copy, and install all of them."""
    session.install(*BUILD_ONLY)
    out = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(out, ignore_errors=True)
    for folder in folders:
        build(session, Path(folder), out)
    session.install("--no-deps", *(str(path) for path in out.glob("*.whl")))


def install_debian(session: nox.Session, *packages: str) -> None:
    """Install missing Debian packages; if that fails, say what is not tested."""
    missing = [package for package in packages if not _is_installed(package)]
    if not missing:
        return
    command = f"apt-get install {' '.join(missing)}"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        session.warn(f"NOT TESTED: what needs {', '.join(missing)}. As root on Debian: {command}")
        return
    # Packages of servers start them, unless this file exits with 101.
    policy = Path("/usr/sbin/policy-rc.d")
    forbid = not policy.exists()
    if forbid:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for arguments in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", "-y", *missing]):
            session.run(
                *("apt-get", *arguments),
                env={"DEBIAN_FRONTEND": "noninteractive"},
                external=True,
                silent=True,
                success_codes=range(256),
            )
    finally:
        if forbid:
            policy.unlink()
    if failed := [package for package in missing if not _is_installed(package)]:
        session.warn(f"NOT TESTED: what needs {', '.join(failed)}. This failed: {command}")


def _is_installed(package: str) -> bool:
    sign = DEBIAN[package]
    return any(Path("/").glob(sign[1:])) if sign.startswith("/") else shutil.which(sign) is not None


def interpreter(version: str) -> str | None:
    """The path of a working Python of this version (not a pyenv shim), or None."""
    probe = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
    folders = os.environ.get("PATH", "").split(os.pathsep)
    found = [shutil.which(f"python{version}", path=folder) for folder in folders]
    for path in (sys.executable, *filter(None, found)):
        if subprocess.run([path, "-c", probe], capture_output=True, check=False).returncode == 0:
            return path
    return None


# -- what `nox` runs ---------------------------------------------------------------------------------


@nox.session
def checks(session: nox.Session) -> None:
    """Run types, docs, imports, isolation and lint in parallel."""
    wheels(session)
    environment = {**os.environ, "WHEELS": str(Path(session.cache_dir) / "wheels")}

    def run(name: str) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "nox", "--noxfile", __file__, "--session", name],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(done.stdout, end="", file=sys.stderr, flush=True)
        return done.returncode

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        codes = list(pool.map(run, CHECKS))
    if failed := [name for name, code in zip(CHECKS, codes, strict=True) if code]:
        session.error(f"Failed: {', '.join(failed)}.")


@nox.session
def tests(session: nox.Session) -> None:
    """Run pytest without the slow tests and report coverage; arguments go to pytest."""
    install_all(session, "test", "coverage")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    for old in ROOT.glob(".coverage*"):
        old.unlink()
    pytest = str(Path(session.bin) / "pytest")
    session.run("coverage", "run", pytest, *QUICK, env={"COVERAGE_FILE": str(ROOT / ".coverage")})
    session.run("coverage", "combine", "--quiet", success_codes=[0, 1])
    session.run("coverage", "report")


# -- what `checks` runs ------------------------------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Check the rules and the format of all files with ruff."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def imports(session: nox.Session) -> None:
    """Check with import-linter that imports go down and only the adapter uses asok."""
    install_all(session, "imports")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of core and every plugin with mypy --strict."""
    install_all(session, "types", "test")
    packages = [str(folder.relative_to(ROOT) / folder.name) for folder in PLUGINS]
    session.run("mypy", "asok_auth_core", *packages, "tests/typing", "tests/support/asok_auth_tests")


@nox.session
def isolation(session: nox.Session) -> None:
    """Import each module without the others, with every warning an error."""
    install_all(session, "test")
    folders = [ROOT / "asok_auth_core", *(folder / folder.name for folder in PLUGINS)]
    modules = sorted(
        ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        for folder in folders
        for path in folder.rglob("*.py")
        if "scaffold" not in path.parts
    )
    session.run("python", "-I", "-W", "error", "tools/isolation.py", *modules, log=False)
    session.log("%d modules import alone without a warning.", len(modules))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site with strict links; `nox -s docs -- serve` shows a preview."""
    install_all(session, "docs")
    if session.posargs == ["serve"]:
        session.run("mkdocs", "serve")
    else:
        session.run("mkdocs", "build", "--strict", "--site-dir", str(Path(session.create_tmp()) / "site"))


# -- what `nox -s full` runs -------------------------------------------------------------------------


@nox.session(venv_backend="none")
def full(session: nox.Session) -> None:
    """Run what `nox` leaves out: all sessions from `interpreters` to `newplugins`."""
    for name in FULL:
        session.notify(name)


@nox.session(venv_backend="none")
def interpreters(session: nox.Session) -> None:
    """Say which of Python 3.10 to 3.13 are missing here and therefore not tested."""
    for version in PYTHONS:
        path = interpreter(version)
        session.log("Python %s: %s", version, path or "MISSING")
        if path is None:
            session.warn(f"NOT TESTED: Python {version}. There is no python{version} on PATH.")


@nox.session(venv_backend="none")
def debian(session: nox.Session) -> None:
    """Install the Debian packages that some tests need, if this is root on Debian."""
    install_debian(session, *DEBIAN)
    for package in DEBIAN:
        session.log("%s: %s", package, "installed" if _is_installed(package) else "MISSING")


@nox.session(python=OTHERS)
def matrix(session: nox.Session) -> None:
    """Run the quick tests that may depend on the interpreter on the others."""
    install_all(session, "test")
    session.run("pytest", *REPEATED, *session.posargs)


@nox.session(python=next(filter(interpreter, PYTHONS), OWN))
def minimums(session: nox.Session) -> None:
    """Run the tests of `matrix` with the lowest versions and interpreter."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("\n".join(lowest_versions()) + "\n")
    session.log("Lowest versions: %s", ", ".join(lowest_versions()))
    install_all(session, "test", constraints=constraints)
    session.run("pytest", *REPEATED, *session.posargs)


def lowest_versions() -> list[str]:
    """``name==lower bound`` for each dependency of core and plugins.

    Of two bounds the higher holds.

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


# One interpreter is enough: these test locks, servers and protocols.
@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests (races, kill -9, outages) and those for Debian packages."""
    install_all(session, "test", "demo")
    session.run("pytest", "-m", "slow or debian", "--timeout", "1800", *EVERY_CORE, *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Test the demo in Chromium: mouse, keyboard, without JavaScript, axe-core."""
    chromium = _chromium(session)
    install_all(session, "test", "browser", "demo")
    session.run("pytest", "tests/browser", *session.posargs, env={"CHROMIUM": chromium})


def _chromium(session: nox.Session) -> str:
    """Find a browser: CHROMIUM, PATH or, as root on Debian, a new installation."""
    found = os.environ.get("CHROMIUM") or shutil.which("google-chrome")
    if found is None:
        install_debian(session, "chromium")
        found = shutil.which("chromium")
    if found is None:
        session.skip("NOT TESTED: the demo in a browser. Install chromium or set the variable CHROMIUM.")
    return found


@nox.session
def thirdparty(session: nox.Session) -> None:
    """Build, install and test examples/plugins as third parties publish them."""
    install_all(session, "test", "types")
    made = sorted(str(path.parent) for path in ROOT.glob("examples/plugins/*/pyproject.toml"))
    install_wheels(session, made)
    for path in made:
        with session.chdir(path):
            session.run("mypy", Path(path).name.replace("-", "_"))
            session.run("pytest", "-q", "--no-header", "-W", "error")
    session.run("asok-auth", "plugins")


@nox.session
def newplugins(session: nox.Session) -> None:
    """Create a plugin of every kind with `asok-auth new-plugin` and check it."""
    install_all(session, "test", "lint", "types")
    folder = Path(session.create_tmp()) / "new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kinds = sorted(path.name for path in ROOT.glob("asok_auth_core/scaffold/*") if path.name != "common")
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


# -- for people --------------------------------------------------------------------------------------


@nox.session
def demo(session: nox.Session) -> None:
    """Start the demo, a server with every plugin, without keys or internet."""
    install_all(session, "demo")
    session.run("python", "examples/demo/serve.py", *session.posargs)


@nox.session
def screenshots(session: nox.Session) -> None:
    """Take the screenshots of docs/images from the demo, light and dark."""
    chromium = _chromium(session)
    install_all(session, "test", "browser", "demo")
    folder = str(ROOT / "docs" / "images")
    session.run("pytest", "tests/browser/pictures.py", env={"CHROMIUM": chromium, "PICTURES": folder})


@nox.session
def bench(session: nox.Session) -> None:
    """Run one benchmark: `nox -s bench -- tokens`, `permissions`, `stores`, `users`."""
    known = sorted(path.stem for path in ROOT.glob("benchmarks/*.py"))
    if not session.posargs or session.posargs[0] not in known:
        session.error(f"Say which one: nox -s bench -- {' | '.join(known) or '(there is none yet)'}")
    name, *arguments = session.posargs
    install_all(session)
    requirements = ROOT / "benchmarks" / f"requirements-{name}.txt"
    if requirements.exists():
        session.install("-r", str(requirements))
    session.run("python", f"benchmarks/{name}.py", *arguments)
