"""Tables of text: a line for each figure, a column for each condition."""

from collections.abc import Sequence
from dataclasses import dataclass

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure under every condition; without cells, a heading."""

    label: str
    cells: tuple[str, ...] = ()


def as_text(found: Sequence[Row]) -> str:
    """Aligned columns, labels to the left and cells to the right."""
    labels = max(len(row.label) for row in found)
    columns = zip(*(row.cells for row in found if row.cells), strict=True)
    widths = [max(map(len, column)) for column in columns]
    lines = [
        row.label.ljust(labels)
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row.cells, widths, strict=False))
        for row in found
    ]
    return "\n".join(line.rstrip() for line in lines)


def number(value: float | None, digits: int) -> str:
    """With so many digits behind the point."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def shortened(text: str, longest: int) -> str:
    """At most `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
