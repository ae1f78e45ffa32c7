"""The QR code of a provisioning URI, as SVG that stands in the page: no request, no file, no log line."""

from __future__ import annotations

import segno
from markupsafe import Markup

MODULE = 4
"""Size of a dot in CSS pixels."""


def svg(uri: str, label: str) -> Markup:
    """``uri`` as inline SVG with ``label`` for screen readers; light ground in dark themes too."""
    code = segno.make(uri, error="m", micro=False)
    return Markup(  # noqa: S704 (segno writes numbers and escapes the label)
        code.svg_inline(
            scale=MODULE, border=4, dark="#000", light="#fff", title=label, svgclass="qr", lineclass=None
        )
    )
