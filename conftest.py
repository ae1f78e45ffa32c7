"""Options of every test run in this repository."""

from __future__ import annotations

import pytest


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
