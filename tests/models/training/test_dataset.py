"""Manifests and the order of batches."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models.training.data import pack_manifest
from models.training.dataset import Utterance, count_too_fast, epoch, load, order, utterances
from models.training.labels import Alphabet
from models.training.manifest import read_manifest
from models.training.recipe import TrainingError
from tests.models.training.speech import RATE, TEXTS, VOCABULARY, write_manifest

ALPHABET = Alphabet(VOCABULARY)


def test_both_forms_of_a_manifest_say_the_same(tmp_path: Path) -> None:
    table, lines = tmp_path / "m.tsv", tmp_path / "m.jsonl"
    table.write_text('path\tid\ttranscript\na/1.wav\tone\tA "b"\n2.wav\t2\t\n')
    values = [{"id": "one", "path": "a/1.wav", "text": 'A "b"'}, {"path": "2.wav", "text": ""}]
    lines.write_text("\n".join(map(json.dumps, values)) + "\n")
    rows = read_manifest(table)
    assert [(row.id, row.path, row.text) for row in rows] == [
        ("one", tmp_path / "a/1.wav", 'A "b"'),
        ("2", tmp_path / "2.wav", ""),
    ]
    other = read_manifest(lines)
    assert [(r.id, r.path, r.text) for r in other] == [(r.id, r.path, r.text) for r in rows]


def test_line_ends_of_other_kinds_are_text_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes("\ufeffpath\ttext\r\na.wav\tone\u2028two\r\n\r\n".encode())
    assert [(row.text, row.line) for row in read_manifest(path)] == [("one\u2028two", 2)]
    path.write_text(json.dumps({"path": "a.wav", "text": "b\u2028c"}, ensure_ascii=False))
    assert read_manifest(path)[0].text == "b\u2028c"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"path": "a.wav"}' + b" " * 140_000 + b"]", "expected a header"),
        (b"", "no clips"),
        (b"path\ttext\n", "no clips"),
        (b"file\ttext\nx\ty\n", "expected a header"),
        (b"path\ttext\na.wav\n", "line 2: expected 2 columns, got 1"),
        (b'{"path": "a.wav", "text": "a"}\n{"path"', "line 2: not JSON"),
        (b'{"path": "a.wav"}', "line 1: expected a path and a text"),
        (b'{"path": "a.wav", "text": "a"}\n3', "line 2: expected a JSON object"),
        (b'{"audio_filepath": "a.wav", "text": "a", "offset": 1.5}', "line 1: parts of files"),
        (b"path\ttext\n\xff.wav\ta\n", "not UTF-8"),
    ],
)
def test_a_bad_manifest_is_told_by_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=said):
        read_manifest(path)


def test_a_missing_manifest_or_sound_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.tsv: No such file"):
        read_manifest(tmp_path / "none.tsv")
    path = write_manifest(tmp_path, ("ab", "cd"))
    rows = read_manifest(path)
    (tmp_path / "1.flac").write_bytes(b"no sound")
    with pytest.raises(TrainingError, match=r"line 3: .*1\.flac"):
        utterances(path, rows, ALPHABET, 20.0)
    (tmp_path / "1.flac").unlink()
    with pytest.raises(TrainingError, match="line 3: there is no file"):
        utterances(path, rows, ALPHABET, 20.0)


def test_long_clips_are_left_out_and_lengths_are_those_read(tmp_path: Path) -> None:
    path = write_manifest(tmp_path)
    soundfile.write(tmp_path / "0.flac", np.zeros(44_100), 44_100)
    clips = utterances(path, read_manifest(path), ALPHABET, 1.1)
    assert 0 < len(clips) < len(TEXTS)
    assert clips[0].samples == RATE
    ((_, batch),) = load(clips, iter([list(range(len(clips)))]), 0, 1)
    assert batch.lengths.tolist() == [clip.samples for clip in clips]
    assert batch.texts == [clip.text for clip in clips]
    with pytest.raises(TrainingError, match="no clip"):
        utterances(path, read_manifest(path), ALPHABET, 0.1)


def test_an_epoch_holds_every_clip_once_and_the_next_one_in_another_order() -> None:
    lengths = [16_000 + 160 * index for index in range(37)]
    first, second = (epoch(lengths, 5.0, 3, number) for number in (0, 1))
    for batches in (first, second):
        assert sorted(index for batch in batches for index in batch) == list(range(37))
    assert first != second
    assert first == epoch(lengths, 5.0, 3, 0)
    assert list(islice(order(lengths, 5.0, 3), len(first) + 1)) == [*first, second[0]]


def test_processes_share_the_batches_and_a_later_start_goes_on(tmp_path: Path) -> None:
    path = write_manifest(tmp_path)
    clips = utterances(path, read_manifest(path), ALPHABET, 20.0)
    plan = list(islice(order([clip.samples for clip in clips], 2.0, 1), 9))

    def texts(start: int, step: int) -> dict[int, list[str]]:
        return {number: batch.texts for number, batch in load(clips, iter(plan), start, step)}

    whole = texts(0, 1)
    assert list(whole) == list(range(9))
    assert whole == {n: [clips[index].text for index in plan[n]] for n in range(9)}
    assert {**texts(0, 2), **texts(1, 2)} == whole
    assert texts(4, 1) == {n: whole[n] for n in range(4, 9)}


def test_a_manifest_is_packed_by_split(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train", ("ab", "cd"))
    rows = "id\tpath\tspeaker\ttext\nx_1\ttrain/0.flac\ts1\tAb!\ny_2\ttrain/1.flac\ts2\tcd\n"
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "m.tsv").write_text(rows.replace("\ttrain/", "\t../train/"))
    shard = pack_manifest(tmp_path / "all" / "m.tsv", "train", ["y_"], tmp_path / "out" / "shard")
    assert [(clip.id, clip.voice, clip.text) for clip in shard.clips] == [("x_1", "s1", "ab")]
    assert len(shard.audio) == shard.clips[0].samples


def test_clips_too_short_for_their_text_are_counted() -> None:
    texts = ("ab", "aa", "", "abab")
    clips = [Utterance(Path("x"), 320 * frames, text) for text in texts for frames in (2, 3)]
    assert count_too_fast(clips, ALPHABET, 320) == sum((0, 1, 0, 2))
