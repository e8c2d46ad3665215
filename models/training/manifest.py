"""Manifests: which sound files there are and what is said in them.

A TSV whose header names at least ``path`` and ``text`` (or ``transcript``), or JSON lines with
these keys; ``id`` and ``speaker`` may be there. Paths are relative to the manifest's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.training.recipe import TrainingError


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
    lines = text.removesuffix("\n").split("\n")  # a text may hold other separators
    values = _json_lines(path, lines) if text.lstrip().startswith("{") else _table(path, lines)
    rows = [_row(path, line, each) for line, each in values]
    if not rows:
        raise TrainingError(f"the manifest {path} has no clips")
    return rows


def _json_lines(path: Path, lines: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, content in enumerate(lines, 1):
        if not content.strip():
            continue
        try:
            value = json.loads(content)
        except ValueError as error:
            raise TrainingError(f"{path}, line {line}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise TrainingError(f"{path}, line {line}: expected a JSON object, got {content!r}")
        yield line, value


def _table(path: Path, lines: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = lines[0].split("\t")
    if any(lines) and ("path" not in header or not {"text", "transcript"} & {*header}):
        raise TrainingError(
            f"{path}: expected a header with path and text (or transcript), tabs between them, "
            f"or JSON lines; got {lines[0][:80]!r}"
        )
    for line, content in enumerate(lines[1:], 2):
        if not content.strip():
            continue
        row = content.split("\t")
        if len(row) != len(header):
            raise TrainingError(
                f"{path}, line {line}: expected {len(header)} columns, got {len(row)}"
            )
        yield line, dict(zip(header, row, strict=True))


def _row(manifest: Path, line: int, values: Mapping[str, Any]) -> Row:
    place, text = values.get("path", values.get("audio_filepath")), values.get("text")
    text = values.get("transcript") if text is None else text
    if not isinstance(place, str) or not place or not isinstance(text, str):
        raise TrainingError(f"{manifest}, line {line}: expected a path and a text, got {values!r}")
    if values.get("offset") not in (None, 0, "", "0"):
        raise TrainingError(f"{manifest}, line {line}: parts of files (offset) are not read")
    id_, speaker = str(values.get("id", Path(place).stem)), str(values.get("speaker", ""))
    return Row(id_, manifest.parent / place, text, speaker, line)
