"""Draw a provisioning URI as inline SVG, so that no request or file holds it."""

from __future__ import annotations

import segno
from markupsafe import Markup


def svg(uri: str, label: str) -> Markup:
    """Draw ``uri`` as SVG with a label for screen readers.

    Its background is light in dark themes too. It has a ``viewBox`` and no size: the page scales it,
    however long ``uri`` is.
    """
    code = segno.make(uri, error="m", micro=False)
    return Markup(  # noqa: S704 (segno's output is numbers and the escaped label)
        code.svg_inline(
            omitsize=True, border=4, dark="#000", light="#fff", title=label, svgclass="qr", lineclass=None
        )
    )
