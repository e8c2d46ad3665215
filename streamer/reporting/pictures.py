"""Pictures as data URIs, by matplotlib without its global state.

Owns the looks that all pictures share. Must not know: what is drawn, HTML.
"""

import base64
import io
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#3e7cb1", "#d97b29", "#1a7f5a", "#8e5ea2", "#c0392b", "#7f8c8d", "#b8860b")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "streamer",  # the same figures give the same file
}
DPI = 80


def figure(width: float, height: float) -> "Figure":
    """An empty one, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def uri(drawn: "Figure", kind: str) -> str:
    """`kind` is svg (charts) or png (pictures made of points)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a text the font cannot write
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        drawn.savefig(buffer, format=kind, metadata=metadata, dpi=DPI)
    form = "image/svg+xml" if kind == "svg" else "image/png"
    return f"data:{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"
