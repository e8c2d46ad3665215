"""`streamer evaluate` as a user meets it, with real networks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from clients.demo import CLIP, SPOKEN
from streamer.evaluation import command
from tests.commands import ROOT, run, use

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def manifest(talk: str, tmp_path: Path) -> str:
    samples, rate = soundfile.read(talk)
    rows = ["id\tpath\ttext\tspeaker"]
    for index, (first, text) in enumerate([(0, "abc de"), (9000, "f"), (20_000, "ghi")]):
        soundfile.write(tmp_path / f"{index}.wav", samples[first:], rate)
        rows.append(f"set_{index}\t{index}.wav\t{text}\ts{index}")
    path = tmp_path / "set.tsv"
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def measured(tmp_path: Path, *arguments: str, table: str = "real-time factor") -> dict:
    file = tmp_path / "out.json"
    status, out, err = run("evaluate", *arguments, "--json", str(file))
    assert (status, err) == (0, "")
    assert table in out
    return json.loads(file.read_text())


def without_computing(found: dict) -> dict:
    for condition in found["conditions"]:
        del condition["computing"]
    return found


def test_the_batch_changes_computing_time_only(model: str, manifest: str, tmp_path: Path) -> None:
    options = ("--preset", "low", "--preset", "default", "--mode", "cache", "--mode", "window")
    alone, three = (
        without_computing(measured(tmp_path, manifest, *use(model), *options, "--batch", batch))
        for batch in ("1", "3")
    )
    names = [each["name"] for each in alone["conditions"]]
    assert names == ["offline", "cache low", "cache default", "window low", "window default"]
    for ours, theirs in zip(alone["conditions"], three["conditions"], strict=True):
        assert ours["errors"] == theirs["errors"]
        assert ours["latency"] == theirs["latency"]
        assert ours["flicker"] == theirs["flicker"]
    assert alone["recordings"] == three["recordings"]
    assert alone["conditions"][0]["errors"]["words"]["length"] == 4


def test_decodings_are_crossed_in_one_run_as_if_each_were_alone(
    model: str, manifest: str, tmp_path: Path
) -> None:
    pytest.importorskip("pyctcdecode")
    words = tmp_path / "words.txt"
    words.write_text("abc\nzz\n")
    common = (manifest, *use(model), "--hotwords", str(words), "--hotword-letter-weight", "9")
    ways = ("greedy", "beam", "beam+hotwords")
    decodings = [part for way in ways for part in ("--decoding", way)]
    shown = ("--stability", "low", "--stability", "high")
    together = without_computing(measured(tmp_path, *common, *decodings, *shown, table="RTF"))
    names = [each["name"] for each in together["conditions"]]
    assert names == [
        "offline greedy",
        *(f"cache default {way} {level}" for way in ways for level in ("low", "high")),
    ]
    found = {each["name"]: each for each in together["conditions"]}
    for way in ways:
        alone = without_computing(measured(tmp_path, *common, "--decoding", way))
        last = alone["conditions"][-1]
        assert last.pop("name") == f"cache default {way}"
        ours = found[f"cache default {way} low"]
        assert {key: ours[key] for key in last} == last
        assert found[f"cache default {way} high"]["flicker"]["unstable_word_ratio"] == 0
    heard = {way: found[f"cache default {way} low"]["hotwords"]["heard"] for way in ways}
    assert heard["beam+hotwords"] > heard["beam"], "it was told"
    assert found["cache default beam low"]["hotwords"]["said"] == 1


def test_recordings_are_chosen_and_noise_is_counted(
    model: str, manifest: str, tmp_path: Path
) -> None:
    found = measured(tmp_path, manifest, *use(model), "--leave-out", "set_1", "--limit", "1")
    assert [each["id"] for each in found["recordings"]] == ["set_0"]
    found = measured(tmp_path, "--noise", manifest, *use(model), "--only", "2.wav")
    assert [each["reference"] for each in found["recordings"]] == [""]
    for condition in found["conditions"]:
        assert condition["errors"]["words"] == {
            "rate": None,
            "length": 0,
            "substitutions": 0,
            "deletions": 0,
            "insertions": 0,
        }
        assert condition["spurious_words_per_min"] > 0  # it babbles


def test_the_shipped_model_hears_the_demo_clip(tmp_path: Path) -> None:
    line = {"audio_filepath": str(CLIP), "text": SPOKEN.capitalize() + "."}
    manifest = tmp_path / "demo.jsonl"
    manifest.write_text(json.dumps(line))
    report = tmp_path / "demo.html"
    found = measured(tmp_path, str(manifest), "--preset", "accurate", "--html", str(report))
    whole, live = found["conditions"]
    assert whole["errors"]["characters"]["rate"] <= 0.15
    assert live["errors"]["characters"]["rate"] <= 0.15
    emission, commit = live["latency"]["emission_s"], live["latency"]["commit_s"]
    assert emission["count"] >= 10
    assert emission["p50"] <= commit["p50"]
    assert 0 < emission["p50"] < live["latency"]["algorithm_s"] + 0.02
    assert report.read_text().count("data:image/png") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "evaluate needs a MANIFEST"),
        (["none.tsv"], "cannot read none.tsv: No such file"),
        (["README.md"], "README.md, line 1: expected a header"),
        (["{manifest}", "--only", "nowhere"], "none of 3 recordings is left"),
        (["{manifest}", "{manifest}"], "the id 'set_0' is given to two"),
        (["{manifest}", "--html", "no/such/place.html"], "there is no folder no/such"),
        (["{manifest}", "--json", "docs"], "cannot write docs: it is a folder"),
        (["{manifest}", "--model", "no-such-model"], "no model 'no-such-model'"),
        (["{manifest}", "--left-context-s", "-1"], "left_context_s"),
        (["{broken}"], "cannot open"),
        (["{damaged}"], "is not audio in a known format"),
        (["{manifest}", "--decoding", "beam+hotwords"], "needs --hotwords FILE or rare"),
        (["{manifest}", "--hotwords", "no-such-file"], "cannot read no-such-file"),
        (["{manifest}", "--hotwords", "rare", "--lm", "no.arpa"], "there is no file no.arpa"),
        (["{unwritten}"], "nothing is left of any text behind --normalize"),
    ],
)
def test_a_mistake_is_one_clear_line(
    arguments: list[str], said: str, manifest: str, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    for name, row in (
        ("broken", "gone.wav\thi"),
        ("damaged", "text.wav\thi"),
        ("unwritten", "0.wav\t42"),
    ):
        (tmp_path / f"{name}.tsv").write_text(f"path\ttext\n{row}\n")
    names = {name: str(tmp_path / f"{name}.tsv") for name in ("broken", "damaged", "unwritten")}
    filled = [each.format(manifest=manifest, **names) for each in arguments]
    status, out, err = run("evaluate", *filled)
    assert (status, out) == (1, "")
    assert said in err
    assert err.startswith("streamer: ")
    assert err.count("\n") == 1


def test_a_wrong_number_is_a_wrong_command_line() -> None:
    for option in ("--limit", "--batch"):
        status, _, err = run("evaluate", "x.tsv", option, "0")
        assert status == 2
        assert "expected a whole number above 0, got '0'" in err


def test_a_missing_package_names_its_extra(manifest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "jiwer" else name)
    status, out, err = run("evaluate", manifest)
    assert (status, out) == (1, "")
    assert err == "streamer: evaluate needs the package jiwer: pip install -e '.[evaluate]'\n"


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom streamer.cli import main\n"
        "try:\n    main(['evaluate', '--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'jiwer', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.PIPE)
