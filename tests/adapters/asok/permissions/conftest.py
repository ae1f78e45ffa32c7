"""Apps with roles and permissions, without the Admin and with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY

from ..apps import PERMISSION_MODELS, Plugin, started
from .admin import add_admin


@pytest.fixture
def app(tmp_path: Path, plugin: Plugin) -> Iterator[Asok]:
    with started(tmp_path, plugin, models=PERMISSION_MODELS) as made:
        MODELS_REGISTRY["Role"].create(name="editor", permissions="posts.edit, posts.view")
        MODELS_REGISTRY["Role"].create(name="reader", permissions="posts.view")
        yield made


@pytest.fixture
def admin_app(app: Asok) -> Asok:
    """The same with the Admin, which overrides ``can`` after the extension."""
    add_admin(app)
    return app
