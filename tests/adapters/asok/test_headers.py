"""Headers as pages and plugins see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok.testing import TestClient

from asok_auth_core.testing.apps import asok_app

PAGE = """\
def get(request):
    headers = request.app.extensions["AuthExtension"].app_auth.web_request(request).headers
    return request.api({
        "some": [headers.get(name) for name in ("authorization", "AUTHORIZATION", "X-Other", "Content-Type")],
        "missing": headers.get("X-Missing", "not there"),
        "contained": ["x-other" in headers, "X-Missing" in headers],
        "same": dict(headers) == request.headers and len(headers) == len(request.headers),
    })
"""


@pytest.fixture
def answer(tmp_path: Path) -> dict[str, object]:
    with asok_app(tmp_path, pages={"api/headers.py": PAGE}) as app:
        response = TestClient(app).get(
            "/api/headers",
            headers={"Authorization": "Basic eA==", "X-Other": "1"},
            content_type="text/plain",
        )
    found: dict[str, object] = response.json["data"]
    return found


def test_names_are_found_in_any_case(answer: dict[str, object]) -> None:
    """RFC 9110, section 5.1"""
    assert answer["some"] == ["Basic eA==", "Basic eA==", "1", "text/plain"]
    assert answer["contained"] == [True, False]
    assert answer["missing"] == "not there"


def test_headers_equal_those_asok_reads(answer: dict[str, object]) -> None:
    assert answer["same"] is True
