"""The report: whole, without outside resources, and safe from the texts it shows."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from streamer.evaluation import plots, report, table
from streamer.evaluation.experiment import Setting
from streamer.evaluation.measures import Hits
from streamer.evaluation.results import Results
from streamer.reporting.table import NOTHING, as_text
from tests.evaluation.test_experiment import FakeOfflineModel, evaluated, recorded  # noqa: F401
from tests.fakes import DELIMITER, speak

EVIL = "<script>alert('1')</script>&\"><img src=http://evil.example/x.png>"


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def results_of(items):
    experiment, figures = evaluated(items)
    conditions = [experiment.offline(FakeOfflineModel())]
    conditions += experiment.streamed(
        [Setting(figures[1].name, lambda slots: FakeOfflineModel(slots=slots))]
    )
    return Results({"model": EVIL}, experiment.items, conditions, figures)


@pytest.fixture
def results(recorded):  # noqa: F811
    return results_of(
        [
            recorded(
                "a", speak("turn on my lamp the now"), "Turn off my lamp now please", EVIL, "ann"
            ),
            recorded("b", speak("stop"), "stop", "plain", EVIL),
            recorded("noise", speak("hm"), ""),
        ]
    )


def test_the_page_is_one_file_and_shows_texts_as_texts(results):
    page = Page(report.page(results, FakeOfflineModel()))
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    images = [attributes for name, attributes in page.tags if name == "img"]
    assert len(images) == 5 + 2  # charts, and the two recordings with words
    assert all(each["src"].startswith("data:image/") for each in images)
    for _, attributes in page.tags:
        assert not any(key.startswith("on") for key in attributes)
        assert "http" not in "".join(
            str(v) for v in attributes.values() if not v.startswith("data:")
        )
    assert any(EVIL in text for text in page.texts)
    for row in table.rows(results):
        for text in (row.label, *row.cells):
            assert not text or text in page.texts


def test_errors_are_shown_under_the_words_they_concern(results):
    text = report.page(results, FakeOfflineModel())
    assert '<span class="pair substitute"><span>off</span><span>on</span></span>' in text
    assert '<span class="pair insert"><span></span><span>the</span></span>' in text
    assert '<span class="pair delete"><span>please</span><span></span></span>' in text
    assert '<span class="pair equal"><span>turn</span><span>turn</span></span>' in text


def test_the_same_results_give_the_same_page(results):
    model = FakeOfflineModel()
    assert report.page(results, model) == report.page(results, model)


def test_more_conditions_than_colours_are_all_in_the_tables(results):
    names = [f"cache default beam+lm {index}" for index in range(11)]
    figures = [replace(results.figures[1], name=name) for name in names]
    conditions = [replace(results.conditions[1], name=name) for name in names]
    many = replace(results, figures=figures, conditions=conditions)
    page = Page(report.page(many, FakeOfflineModel()))
    assert all(page.texts.count(name) == 2 for name in names)
    assert page.texts.count("the first 7 of 11 conditions") == 2  # by source, by speaker


def test_noise_alone_has_a_page_without_error_rates(recorded):  # noqa: F811
    noise = results_of([recorded("noise", speak("hm"), "")])
    page = Page(report.page(noise, FakeOfflineModel()))
    assert "Most errors" not in "".join(page.texts)
    labels = [row.label for row in table.rows(noise)]
    assert "spurious words per minute" in labels
    assert not any(label.startswith("WER") for label in labels)


def test_the_table_is_aligned_and_complete(results):
    lines = as_text(table.rows(results)).splitlines()
    assert lines[0].split() == ["offline", "cache", "default"]
    rates = next(line for line in lines if line.startswith("WER %")).split()
    assert rates[2:] == ["42.9", "42.9"]  # 1 substituted, 1 deleted, 1 inserted of 7
    assert len({len(line) for line in lines if line.startswith(("WER %", "CER %"))}) == 1
    assert next(line for line in lines if line.startswith("latency of the alg")).endswith("335")


def test_the_overview_has_a_line_for_each_condition(results):
    header, whole, live = table.overview(results)
    assert [whole.label, live.label] == ["offline", "cache default"]
    found = dict(zip(header.cells, live.cells, strict=True))
    assert list(found) == [
        "WER %", "CER %", "unstable", "erasure", "emission ms", "commit ms", "final ms", "RTF",
    ]  # fmt: skip
    assert found["WER %"] == "42.9"
    assert found["unstable"] == f"{results.figures[1].flicker.unstable_word_ratio:.3f}"
    assert whole.cells[2:] == (NOTHING,) * 6
    recalled = replace(results.figures[1], hotwords=Hits(4, 2, 1))
    header, line = table.overview(replace(results, figures=[recalled]))
    assert header.cells[-2:] == ("recall %", "precision %")
    assert line.cells[-2:] == ("25.0", "50.0")
    (row,) = [
        row for row in table.rows(replace(results, figures=[recalled])) if "said" in row.label
    ]
    assert row.cells == ("4 / 2 / 1",)


def test_the_best_tokens_are_the_spoken_ones():
    (log_probs,) = FakeOfflineModel().offline([speak("ab c")])
    tokens = plots.best_tokens(log_probs, {0})
    labels = FakeOfflineModel().labels.tokens
    assert [labels[token.id] for token in tokens] == ["a", "b", labels[DELIMITER], "c"]


def test_a_tone_is_in_its_bin():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    level = plots.spectrogram(tone)
    assert level.shape == (257, 101)
    assert set(level[:, 5:-5].argmax(axis=0)) == {32}  # 1 kHz in steps of 31.25 Hz
    assert level.max() == 0.0
    assert plots.spectrogram(np.zeros(1600, np.float32)).max() == -plots.DYNAMIC_RANGE_DB
