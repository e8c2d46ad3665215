"""One HTML page without any outside resource. Every text from outside is escaped."""

from collections.abc import Mapping, Sequence
from html import escape

from streamer.reporting.table import Row

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #e4e7eb }
td { white-space: nowrap }
td:first-child, th:first-child { text-align: left; white-space: pre }
dt { font-weight: 600; margin-top: .4rem } dd { margin-left: 1.2rem }
img { max-width: 100% } .wide { overflow-x: auto } .wide img { max-width: none }
small { color: #52606d }
"""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, about: Mapping[str, str], parts: Sequence[str], style: str = "") -> str:
    """The whole page: title, what is reported, the parts (HTML) in their order."""
    lines = "<br>".join(f"{escape(key)}: {escape(value)}" for key, value in about.items())
    body = "\n".join((f"<h1>{escape(title)}</h1>", f"<p>{lines}</p>", *parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def definitions(found: Mapping[str, str]) -> str:
    """What the figures mean."""
    terms = "".join(f"<dt>{key}</dt><dd>{text}</dd>" for key, text in found.items())
    return f"<h2>What the figures mean</h2>\n<dl>{terms}</dl>"


def table(rows: Sequence[Row]) -> str:
    """A table; its first row, and headings, stand out."""
    lines = []
    for index, row in enumerate(rows):
        mark = "th" if index == 0 or not row.cells else "td"
        cells = "".join(f"<{mark}>{escape(text)}</{mark}>" for text in (row.label, *row.cells))
        lines.append(f"<tr>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def picture(uri: str, text: str) -> str:
    """A picture, and what it shows for those who do not see it."""
    return f'<img alt="{escape(text)}" src="{uri}">'
