"""Manifests: which recordings there are, what is said in them and by whom.

Owns what the keys of a row mean, the table of a packed shard, and reading one recording's samples;
TSV and JSON lines are parsed as the training's. Must not know: models, measures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.training.manifest import LineError, parse, split
from streamer.audio import SAMPLE_RATE, Samples
from streamer.edges.audio_file import AudioFile, AudioFileError

PATH_KEYS = ("path", "audio_filepath")
TEXT_KEYS = ("text", "transcript")
OTHER_KEYS = ("id", "speaker", "source")
SHARD_SUFFIX = ".s16"  # 16 kHz mono, 16 bits, little endian, all clips one behind the other
SHARD_COLUMNS = 5  # id, start, samples, voice, text; no header


class ManifestError(Exception):
    """A manifest that cannot be used, in one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording and what is said in it (nothing: noise); the audio is read when asked for."""

    id: str
    path: Path  # an audio file or a shard
    text: str
    speaker: str
    source: str
    start_sample: int = 0  # of the part that is meant
    count_samples: int | None = None  # None: all of an audio file

    def duration_s(self) -> float:
        """Seconds, from the file's header; AudioFileError when there is no usable file."""
        if self.path.suffix == SHARD_SUFFIX:
            return (self.count_samples or 0) / SAMPLE_RATE
        with AudioFile(self.path) as file:
            whole_s = file.duration_s or 0.0
        return whole_s if self.count_samples is None else self.count_samples / SAMPLE_RATE

    def samples(self) -> Samples:
        """Float32 (S,) at 16 kHz; AudioFileError for damaged audio."""
        count = self.count_samples
        part = slice(self.start_sample, None if count is None else self.start_sample + count)
        if self.path.suffix == SHARD_SUFFIX:
            packed = np.memmap(self.path, "<i2", "r")[part]
            return packed.astype(np.float32) / np.float32(32768)
        with AudioFile(self.path) as file:
            samples = np.concatenate(list(file.blocks()))[part]
        if not len(samples):
            raise AudioFileError(f"{self.path} ends before {self.id!r} begins")
        return samples


def read(path: Path, *, speech: bool = True) -> list[Recording]:
    """All recordings of a manifest; paths in it are relative to it.

    A `.tsv` beside a `.s16` of the same name is the table of a shard; otherwise lines that begin
    with a brace are JSON, and all others TSV with a header. Without `speech` nothing is said in
    them, whatever the manifest has as text. Raises ManifestError, which names the first broken
    line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not text in UTF-8") from error
    if path.suffix == ".tsv" and path.with_suffix(SHARD_SUFFIX).exists():
        found = list(_from_shard(path, split(text)[1]))
    else:
        found = [_recording(place, path.parent, row, speech) for place, row in _rows(path, text)]
    if not found:
        raise ManifestError(f"{path} names no recordings")
    return found if speech else [replace(each, text="") for each in found]


def select(
    recordings: Sequence[Recording],
    only: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    limit: int | None = None,
) -> list[Recording]:
    """The first `limit` whose path has any of `only` in it and whose id begins with no `leave_out`.

    Raises ManifestError when nothing is left, or when two that are left have the same id.
    """
    chosen = [
        each
        for each in recordings
        if (not only or any(part in str(each.path) for part in only))
        and not each.id.startswith(tuple(leave_out))
    ][:limit]
    if not chosen:
        raise ManifestError(f"none of {len(recordings)} recordings is left to evaluate")
    seen: set[str] = set()
    for each in chosen:
        if each.id in seen:
            raise ManifestError(
                f"the id {each.id!r} is given to two recordings; a column id tells them apart"
            )
        seen.add(each.id)
    return chosen


def _rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row stands, and its values by key."""
    header, lines = split(text)
    if header is not None and not any(key in header for key in PATH_KEYS):
        raise ManifestError(
            f"{path}, line 1: expected a header with the columns id, path and text, "
            f"separated by tabs, got {lines[0][:60]!r}"
        )
    try:
        for number, values in parse(header, lines):
            yield f"{path}, line {number}", values
    except LineError as error:
        raise ManifestError(f"{path}, {error}") from error


def _recording(place: str, folder: Path, row: Mapping[str, Any], speech: bool) -> Recording:
    values = {key: _text(place, row, key) for key in (*PATH_KEYS, *TEXT_KEYS, *OTHER_KEYS)}
    path = next((values[key] for key in PATH_KEYS if values[key]), None)
    if path is None:
        raise ManifestError(f"{place}: expected a path, got none")
    text = next((values[key] for key in TEXT_KEYS if values[key] is not None), None)
    if text is None and speech:
        raise ManifestError(f"{place}: expected a text (empty for noise), got none")
    start, count = _part(place, row)
    named = Path(path).stem if count is None else f"{Path(path).stem}@{start / SAMPLE_RATE:g}"
    return Recording(
        values["id"] or named,
        folder / path,
        text or "",
        values["speaker"] or "",
        values["source"] or "",
        start,
        count,
    )


def _text(place: str, row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # ids and speakers may be numbers in JSON
    if not isinstance(value, str | None):
        raise ManifestError(f"{place}: {key}: expected a text, got {value!r}")
    return value


def _part(place: str, row: Mapping[str, Any]) -> tuple[int, int | None]:
    """The samples that NeMo's `offset` and `duration` (seconds) mean; without offset, all."""
    try:
        if row.get("offset") is None:
            return 0, None
        offset_s = float(row["offset"])
        duration_s = float(row["duration"])
        if min(offset_s, duration_s) < 0:
            raise ValueError
        return round(offset_s * SAMPLE_RATE), round(duration_s * SAMPLE_RATE)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ManifestError(f"{place}: expected offset and duration in seconds") from error


def _from_shard(path: Path, lines: Sequence[str]) -> Iterator[Recording]:
    """The table of a packed shard; the voice `engine:name` of synthetic speech has its source."""
    audio = path.with_suffix(SHARD_SUFFIX)
    available = audio.stat().st_size // 2
    for number, line in enumerate(lines, start=1):
        row, place = line.rstrip("\r").split("\t"), f"{path}, line {number}"
        if len(row) != SHARD_COLUMNS or not (row[1].isdecimal() and row[2].isdecimal()):
            raise ManifestError(
                f"{place}: expected id, start, samples, voice and text, got {line[:60]!r}"
            )
        id_, start, count, voice, said = row
        if not 0 < int(count) <= available - int(start):
            raise ManifestError(f"{place}: {audio.name} has no such samples")
        engine, colon, _ = voice.partition(":")
        source = engine if colon else id_.partition("_")[0]
        yield Recording(id_, audio, said, voice, source, int(start), int(count))
