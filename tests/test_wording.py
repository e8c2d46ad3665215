"""The files and switches behind text rules and keywords; mistakes are told in one sentence."""

import pytest

from streamer.assembly import build_engine
from streamer.config import ConfigError, EngineConfig, KeywordConfig, TextConfig
from streamer.core.keywords import DEFAULT_THRESHOLD, MAX_PHRASES, Phrase
from streamer.core.masking import Masks
from streamer.text.written import written
from streamer.wording import Wording, build_wording
from tests.fakes import FakeModel


def build(text=TextConfig(), keywords=KeywordConfig()) -> Wording:  # noqa: B008
    return build_wording(text, keywords)


def test_nothing_is_set_by_default():
    wording = build()
    assert (wording.text.written, wording.text.masks, wording.keywords) == (False, Masks(), ())


def test_what_is_set_is_applied():
    text = build(TextConfig(written=True, mask_profanity=True, redact_numbers=True)).text
    assert (text.written, text.writer) == (True, written)
    assert text.masks.numbers
    assert "shit" in text.masks.words
    assert not any(word.startswith("#") or word != word.strip().lower() for word in text.profanity)


def test_a_file_of_profane_words_stands_for_ours(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeff# ours\nDarn # mild\n\n heck\n", encoding="utf-8")
    assert build(TextConfig(profanity_file=str(path))).text.profanity == {"darn", "heck"}


def test_a_file_of_keywords(tmp_path):
    path = tmp_path / "keywords.txt"
    path.write_text("# for the kitchen\nHey  computer\nturn on = 0.6 # sure\n", encoding="utf-8")
    assert build(keywords=KeywordConfig(str(path))).keywords == (
        Phrase("Hey computer", DEFAULT_THRESHOLD),
        Phrase("turn on", 0.6),
    )
    assert build(keywords=KeywordConfig(str(path), 0.9)).keywords[0].threshold == 0.9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "1 to 100 keywords, got 0"),
        (b"word\n" * (MAX_PHRASES + 1), "1 to 100 keywords, got 101"),
        (b"alexa = much", "'alexa = much'"),
        (b"alexa = 0", "threshold above 0"),
        (b"= 0.5", "phrase of 1 to 64"),
        (b"x" * 65, "phrase of 1 to 64"),
        (b"\xff\xfe", "UTF-8"),
        (b"x\n" * (1 << 20), "at most 1048576 bytes"),
    ],
)
def test_a_bad_file_of_keywords_is_a_mistake(tmp_path, content, message):
    path = tmp_path / "keywords.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        build(keywords=KeywordConfig(str(path)))


def test_a_file_that_is_not_there_is_a_mistake(tmp_path):
    for config in (
        {"text": TextConfig(profanity_file=str(tmp_path / "none"))},
        {"keywords": KeywordConfig(str(tmp_path / "none"))},
    ):
        with pytest.raises(ConfigError, match="No such file"):
            build(**config)


def test_without_the_extra_written_text_is_a_mistake_and_the_rest_works(monkeypatch):
    monkeypatch.setattr("streamer.wording.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e '.\[text\]'"):
        build(TextConfig(written=True))
    assert build(TextConfig(redact_numbers=True)).text.writer is None


def test_an_engine_refuses_keywords_that_its_model_cannot_spell():
    wording = Wording(keywords=(Phrase("route 5"),))
    with pytest.raises(ConfigError, match="cannot spell '5'"):
        build_engine(FakeModel(), EngineConfig(), wording)
