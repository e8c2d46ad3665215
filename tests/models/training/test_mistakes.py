"""The tools of training tell a mistake in one line."""

from importlib import import_module
from pathlib import Path

import pytest

from tests.models.training.speech import write_manifest


@pytest.mark.parametrize(
    ("tool", "options", "said"),
    [
        ("phrases", "--out {there}/none/x.txt", "none/x.txt: No such file or directory"),
        ("synthesis", "--texts {there} --out {there}/s", "no texts in *.txt of"),
        ("data", "--manifest {there}/none.tsv --out {there}/d", "cannot read the manifest"),
        ("data", "--manifest {manifest} --split else --out {there}/d", "no clip with a text has"),
        ("data", "--manifest {damaged} --split y --out {there}/d", "line 2: "),
        ("ngram", "--texts {there} --out {there}/x.arpa", "no texts in *.txt of"),
        ("ngram", "--texts {texts} --cutoffs 1 2 --out {there}/x", "expected at least two cutoffs"),
        ("ngram", "--texts {texts} --leave-out {there}/no --out {there}/x", "cannot read the mani"),
        ("restride", "--start {there}/none --out {there}/r", "no model"),
        ("export", "--run {damaged_run} --out {there}/r", "cannot be read as safetensors"),
        ("export", "--run tiny-en --out {there}/r --confidence-exponent 0", "confidence_exponent"),
        ("export", "--run tiny-en --out {there}/r --word-end-delay-ms 9", "word_start_delay_ms"),
        ("export", "--run tiny-en --out {texts}/a.txt", "a.txt: File exists"),
    ],
)
def test_a_mistake_is_one_line(
    tool: str,
    options: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "damaged.tsv").write_text("path\ttext\nx/y/a.wav\thi\n")
    for name in ("texts", "run", "x", "x/y"):
        (tmp_path / name).mkdir()
    (tmp_path / "texts" / "a.txt").write_text("one two\n")
    (tmp_path / "run" / "last.safetensors").write_text("x")
    (tmp_path / "x" / "y" / "a.wav").write_text("no sound")
    places = {
        "there": tmp_path,
        "texts": tmp_path / "texts",
        "damaged": tmp_path / "damaged.tsv",
        "damaged_run": tmp_path / "run",
        "manifest": write_manifest(tmp_path / "people", ("ab",)),
    }
    filled = [part.format(**places) for part in options.split()]
    monkeypatch.setattr("sys.argv", [tool, *filled])
    status = import_module(f"models.training.{tool}").main()
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"{tool}: ")
    assert said in err
