"""Finds the folders in which plugins keep their templates and translations."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path


def packages_of(modules: Iterable[str], *, app: Path) -> tuple[str, ...]:
    """The imported packages with ``modules``, innermost first, without ``app``.

    The app's own folder is left out because the framework reads its translations itself.
    """
    names = (
        parts[:end] for module in modules if (parts := module.split(".")) for end in range(len(parts), 0, -1)
    )
    packages = dict.fromkeys(".".join(name) for name in names)
    return tuple(package for package in packages if (places := _places(package)) and app not in places)


def package_folders(package: str, name: str) -> list[Path]:
    """The folders ``name`` of an imported package; a namespace may have several."""
    return [folder for place in _places(package) if (folder := place / name).is_dir()]


def _places(package: str) -> list[Path]:
    return [Path(place) for place in getattr(sys.modules.get(package), "__path__", ())]
