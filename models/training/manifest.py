"""Manifests: which sound files there are and what is said in them.

A TSV whose header names at least ``path`` and ``text`` (or ``transcript``), or JSON lines with
these keys; ``id`` and ``speaker`` may be there. Paths are relative to the manifest's folder.
``split`` and ``parse`` know the two formats and nothing of these keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.training.recipe import TrainingError


class LineError(ValueError):
    """What is wrong with a line of a manifest, beginning with its number."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a manifest."""

    id: str
    path: Path
    text: str
    speaker: str
    line: int  # for messages, from 1 on


def read_manifest(path: Path) -> list[Row]:
    """All rows of the manifest ``path``.

    Raises:
        TrainingError: it cannot be read, it is empty, or a line is not as it should be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise TrainingError(f"cannot read the manifest {path}: {reason}") from error
    header, lines = split(text)
    known = header is None or ("path" in header and {"text", "transcript"} & {*header})
    if any(lines) and not known:
        raise TrainingError(
            f"{path}: expected a header with path and text (or transcript), tabs between them, "
            f"or JSON lines; got {lines[0][:80]!r}"
        )
    try:
        rows = [_row(path, line, values) for line, values in parse(header, lines)]
    except LineError as error:
        raise TrainingError(f"{path}, {error}") from error
    if not rows:
        raise TrainingError(f"the manifest {path} has no clips")
    return rows


def split(text: str) -> tuple[list[str] | None, list[str]]:
    """The columns that a manifest's first line names, None for JSON lines, and all its lines."""
    lines = text.removesuffix("\n").split("\n")  # a text may hold other separators
    is_json = text.lstrip().startswith("{")
    return None if is_json else lines[0].rstrip("\r").split("\t"), lines


def parse(header: list[str] | None, lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and values, by key, of each line that is not empty, as ``split`` gives them.

    Raises:
        LineError: a line is broken.
    """
    for number, line in enumerate(lines, 1):
        if line.strip() and (header is None or number > 1):
            yield number, _json(number, line) if header is None else _cells(number, line, header)


def _json(number: int, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise LineError(f"line {number}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise LineError(f"line {number}: expected a JSON object, got {line[:60]!r}")
    return values


def _cells(number: int, line: str, header: list[str]) -> dict[str, Any]:
    cells = line.rstrip("\r").split("\t")
    if len(cells) != len(header):
        raise LineError(f"line {number}: expected {len(header)} columns, got {len(cells)}")
    return dict(zip(header, cells, strict=True))


def _row(manifest: Path, line: int, values: Mapping[str, Any]) -> Row:
    place, text = values.get("path", values.get("audio_filepath")), values.get("text")
    text = values.get("transcript") if text is None else text
    if not isinstance(place, str) or not place or not isinstance(text, str):
        raise TrainingError(f"{manifest}, line {line}: expected a path and a text, got {values!r}")
    if values.get("offset") not in (None, 0, "", "0"):
        raise TrainingError(f"{manifest}, line {line}: parts of files (offset) are not read")
    id_, speaker = str(values.get("id", Path(place).stem)), str(values.get("speaker", ""))
    return Row(id_, manifest.parent / place, text, speaker, line)
