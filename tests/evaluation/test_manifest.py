"""Manifests in all their formats, and every broken line by its number."""

import json

import numpy as np
import pytest
import soundfile

from models.training.data import Clip, Shard
from streamer.edges.audio_file import AudioFileError
from streamer.evaluation.manifest import ManifestError, Recording, read, select

NOISE = np.random.default_rng(4).integers(-9000, 9000, 16_000).astype(np.int16)


def written(folder, text, name="set.tsv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_and_json_lines_say_the_same(tmp_path):
    rows = [
        {"id": "a", "path": "x/a.wav", "text": "one\u2028two", "speaker": "7", "source": "tests"},
        {"id": "b", "path": "/b.wav", "text": "", "speaker": "", "source": ""},
    ]
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    table = read(written(tmp_path, "\r\n".join(lines) + "\r\n\r\n"))
    objects = read(written(tmp_path, "\n".join(json.dumps(row) for row in rows), "set.jsonl"))
    assert table == objects
    assert table == [
        Recording("a", tmp_path / "x/a.wav", "one\u2028two", "7", "tests"),
        Recording("b", tmp_path.__class__("/b.wav"), "", "", ""),
    ]


def test_other_projects_names_are_understood(tmp_path):
    nemo = {"audio_filepath": "n.wav", "text": "hi", "duration": 1.0, "speaker": 12}
    (found,) = read(written(tmp_path, json.dumps(nemo) + "\n", "nemo.json"))
    assert found == Recording("n", tmp_path / "n.wav", "hi", "12", "")
    (found,) = read(written(tmp_path, "path\ttranscript\nq.flac\tho\n"))
    assert found == Recording("q", tmp_path / "q.flac", "ho", "", "")


def test_a_part_of_a_file_is_those_samples(tmp_path):
    soundfile.write(tmp_path / "n.wav", NOISE, 16_000)
    row = {"audio_filepath": "n.wav", "text": "hi", "offset": 0.25, "duration": 0.5}
    part, whole = read(
        written(
            tmp_path,
            json.dumps(row) + "\n" + json.dumps(row | {"offset": None, "id": "w"}),
            "n.json",
        )
    )
    assert np.array_equal(part.samples(), whole.samples()[4000:12_000])
    assert np.array_equal(whole.samples() * 32768, NOISE)
    assert (part.duration_s(), whole.duration_s()) == (0.5, 1.0)
    (beyond,) = read(written(tmp_path, json.dumps(row | {"offset": 2.0}), "b.json"))
    with pytest.raises(AudioFileError, match="ends before 'n@2' begins"):
        beyond.samples()


def test_the_first_part_of_a_file_is_a_part_and_parts_have_ids(tmp_path):
    soundfile.write(tmp_path / "n.wav", NOISE, 16_000)
    rows = [
        {"audio_filepath": "n.wav", "text": "hi", "offset": at, "duration": 0.5} for at in (0, 0.5)
    ]
    parts = select(read(written(tmp_path, "\n".join(map(json.dumps, rows)), "n.json")))
    assert [each.id for each in parts] == ["n@0", "n@0.5"]
    assert np.array_equal(parts[0].samples() * 32768, NOISE[:8000])


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    (found,) = read(written(tmp_path, "\ufeffpath\ttext\na.wav\thi\n"))
    assert found.text == "hi"


def test_a_shard_is_read_by_its_table(tmp_path):
    clips = [
        Clip("ls_1", 0, 6000, "someone", "first"),
        Clip("s_2", 6000, 10_000, "flite:slt", 'a "quoted" second'),
    ]
    Shard(NOISE, clips).save(tmp_path / "heldout")
    first, second = read(tmp_path / "heldout.tsv")
    assert (first.source, first.speaker, first.text) == ("ls", "someone", "first")
    assert (second.source, second.speaker, second.text) == ("flite", "flite:slt", clips[1].text)
    assert np.array_equal(first.samples() * 32768, NOISE[:6000])
    assert np.array_equal(second.samples() * 32768, NOISE[6000:])
    assert (first.samples().dtype, second.duration_s()) == (np.float32, 0.625)


def test_noise_needs_no_text_and_none_is_taken(tmp_path):
    without = written(tmp_path, "id\tpath\nn\tn.wav\n", "without.tsv")
    with_text = written(tmp_path, "id\tpath\ttext\nn\tn.wav\ttraffic\n", "with.tsv")
    assert [each.text for path in (without, with_text) for each in read(path, speech=False)] == [
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: expected a header with the columns id, path and text"),
        ("sentence\tfile\nhello\ta.wav\n", "line 1: expected a header"),
        ("path\ttext\na.wav\thi\nb.wav\n", "line 3: expected 2 columns, got 1"),
        ("path\ttext\n\thi\n", "line 2: expected a path, got none"),
        ("path\tsentence\na.wav\thi\n", r"line 2: expected a text \(empty for noise\), got none"),
        ("path\ttext\n", "names no recordings"),
        ('{"path": "a.wav", "text": ""}\n{"path"\n', "line 2: not JSON"),
        ('{"path": "a.wav", "text": ""}\n[]\n', "line 2: expected a JSON object"),
        ('{"text": "hi"}', "line 1: expected a path"),
        ('{"path": "a.wav", "text": 1.5}', "line 1: text: expected a text, got 1.5"),
        ('{"path": "a.wav", "text": "", "offset": 1}', "line 1: expected offset and duration"),
        ('{"path": "a.wav", "text": "", "offset": -1, "duration": 1}', "line 1: expected offset"),
        ('{"path": "a.wav", "text": "", "offset": NaN, "duration": 1}', "line 1: expected offset"),
    ],
)
def test_the_first_broken_line_is_named(tmp_path, text, said):
    with pytest.raises(ManifestError, match=said):
        read(written(tmp_path, text))


@pytest.mark.parametrize(
    "row", ["a\t0\t10\tv", "a\t0\tten\tv\ttext", "a\t9\t2\tv\tx", "a\t9\t0\tv\tx"]
)
def test_a_broken_line_of_a_shard_is_named(tmp_path, row):
    np.zeros(10, np.int16).tofile(tmp_path / "set.s16")
    with pytest.raises(ManifestError, match="line 2: "):
        read(written(tmp_path, f"a\t0\t10\tv\tsaid\n{row}\n"))


def test_what_is_no_text_is_said(tmp_path):
    with pytest.raises(ManifestError, match=r"cannot read .*none.tsv: No such file"):
        read(tmp_path / "none.tsv")
    (tmp_path / "sound.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not text in UTF-8"):
        read(tmp_path / "sound.tsv")


def test_recordings_are_chosen_by_path_id_and_number(tmp_path):
    recordings = [
        Recording(f"{kind}_{index}", tmp_path / part / "x.wav", "", "", "")
        for index, (kind, part) in enumerate(
            [("ls", "dev"), ("fd", "dev"), ("ls", "train"), ("ka", "dev"), ("so", "dev")]
        )
    ]

    def ids(**rules):
        return [each.id for each in select(recordings, **rules)]

    assert ids() == ["ls_0", "fd_1", "ls_2", "ka_3", "so_4"]
    assert ids(only=["/dev/"], leave_out=["fd_", "so_"]) == ["ls_0", "ka_3"]
    assert ids(only=["/dev/"], leave_out=["fd_"], limit=2) == ["ls_0", "ka_3"]
    assert ids(only=["/train/", "/dev/"], limit=9) == ids()
    with pytest.raises(ManifestError, match="none of 5 recordings"):
        select(recordings, only=["/test/"])
    with pytest.raises(ManifestError, match="the id 'ls_0' is given to two"):
        select([*recordings, recordings[0]])
