"""Where a package keeps its templates and its translations."""

from __future__ import annotations

import sys
from pathlib import Path


def package_folders(package: str, name: str) -> list[Path]:
    """The folders ``name`` of an imported package; none for a lone module, such as an app's own."""
    places = getattr(sys.modules.get(package), "__path__", ())
    return [folder for place in places if (folder := Path(place) / name).is_dir()]
