"""Options, fixtures and a list of skipped tests for the whole repository."""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Without the two limits that are times: other processes may keep a test waiting.
settings.register_profile("repository", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repository")


@pytest.fixture(scope="session", autouse=True)
def short_password_hashes() -> Iterator[None]:
    """Hash with a thousandth of the rounds: Asok's 600,000 take 0.2 s each."""
    full = hashlib.pbkdf2_hmac

    def short(name: str, password: bytes, salt: bytes, rounds: int, dklen: int | None = None) -> bytes:
        return full(name, password, salt, max(1, rounds // 1000), dklen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "pbkdf2_hmac", short)
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--requirement", metavar="ID", help="run only the tests of this row of docs/security.md: SECURITY-15"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("requirement")
    if wanted is None:
        return
    proofs = [item for item in items if any(wanted in mark.args for mark in item.iter_markers("requirement"))]
    config.hook.pytest_deselected(items=[item for item in items if item not in proofs])
    items[:] = proofs


def pytest_collection_finish() -> None:
    """Exclude all modules and tests from garbage collection from now on."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skipped tests by their reason, which says what to install."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section(f"{len(skipped)} skipped tests")
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4} {reason}")
