"""Where a package keeps its templates and its translations."""

from __future__ import annotations

import sys
from pathlib import Path


def package_folders(package: str, name: str) -> list[Path]:
    """The folders ``name`` in an imported package. A module that is no package has none."""
    places = getattr(sys.modules.get(package), "__path__", ())
    return [folder for place in places if (folder := Path(place) / name).is_dir()]
