"""The beam search with real scores, held to pyctcdecode's own decoder."""

import logging
import math
import random
import sys

import numpy as np
import pytest

from models.training import ngram
from streamer.core.beam import BeamRules, BeamState, Search, fold, n_best
from streamer.core.options import Hotword
from streamer.core.scoring import NoScorer
from streamer.language_model import Hotwords, LanguageModel, LanguageModelError, load_ngrams

pytest.importorskip("kenlm")
pyctcdecode = pytest.importorskip("pyctcdecode")

LABELS = ["<pad>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
TEXTS = ("", " ", *LABELS[2:])
SENTENCES = """
turn on the lamp in the kitchen
turn off the light in the hall
it's the train to the city
tell me when the train to the city will leave
set a timer for ten minutes
what's the time in the city
""".strip().splitlines()
ALPHA, BETA, WEIGHT = 0.6, 1.2, 7.0
HOTWORDS = ("the city", "zebra", "ten")


@pytest.fixture(scope="module")
def ngrams(tmp_path_factory):
    logging.disable(logging.WARNING)  # pyctcdecode finds so few words strange
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    ngram.build([s.split() for s in SENTENCES], cutoffs=[0, 0, 0], min_word_count=1).save(path)
    yield load_ngrams(path)
    logging.disable(logging.NOTSET)


class SoundEnd(pyctcdecode.LanguageModel):
    """pyctcdecode scores a sentence that ends with a space as if an unknown word "" came last."""

    def score(self, prev_state, word, is_last_word=False):
        if word or not is_last_word:
            return super().score(prev_state, word, is_last_word)
        return self.alpha * self._get_raw_end_score(prev_state) * math.log(10), prev_state


def logits(seed, ends_with_letter):
    """Random ones, or a text in noise, of any sharpness."""
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    made = rng.normal(size=(draw.randint(1, 14), len(LABELS))) * draw.choice([3, 4, 6])
    if draw.random() < 0.7:
        text = iter(draw.choice(SENTENCES)[draw.randrange(12) :])
        for row in made:
            letter = next(text, " ") if draw.random() < 0.6 else ""
            row[TEXTS.index(letter)] += draw.choice([3, 6, 12])
    if ends_with_letter:
        made[-1, draw.randrange(2, len(LABELS))] += 60
    return made - np.log(np.exp(made).sum(axis=1, keepdims=True))


def ours(log_probs, scorer, width):
    """(text, logit, score) of the n-best, by three folds."""
    search = Search(TEXTS, frozenset({0}), 1, scorer, BeamRules(width))
    state, text = BeamState.start(scorer), ""
    for part in np.array_split(log_probs, 3):
        state, settled = fold(state, part, search)
        text += "".join(TEXTS[token.id] for token in settled)
    return [((text + each.text).strip(), each.logit, each.score) for each in n_best(state, search)]


def assert_same(found, expected):
    """Scores to nine digits, texts in the same order but for ties."""
    expected = [(beam[0], beam[-2], beam[-1]) for beam in expected]
    assert [row[1:] for row in found] == [pytest.approx(row[1:], abs=1e-9) for row in expected]
    for one, other in zip(found, expected, strict=True):
        tied = {text for text, _, score in expected if abs(score - other[2]) < 1e-9}
        assert one[0] in tied


@pytest.mark.parametrize("language_model", [None, SoundEnd, pyctcdecode.LanguageModel])
@pytest.mark.parametrize("hotwords", [(), HOTWORDS], ids=["", "hotwords"])
@pytest.mark.parametrize("start", range(0, 100, 20))
def test_the_n_best_are_those_of_pyctcdecode(ngrams, language_model, hotwords, start):
    """With its own language model too where no hypothesis ends with a space (see `SoundEnd`)."""
    theirs, scorer = None, NoScorer()
    if language_model is not None:
        theirs = language_model(ngrams.model, ngrams.words, alpha=ALPHA, beta=BETA)
        scorer = LanguageModel(ngrams, alpha=ALPHA, beta=BETA)
    if hotwords:
        scorer = Hotwords(scorer, [Hotword(each, WEIGHT) for each in hotwords], 1.0)
    decoder = pyctcdecode.BeamSearchDecoderCTC(pyctcdecode.Alphabet.build_alphabet(LABELS), theirs)
    first = start + 100 * [None, SoundEnd, pyctcdecode.LanguageModel].index(language_model)
    for seed in range(first + 1000 * len(hotwords), first + 1000 * len(hotwords) + 20):
        log_probs = logits(seed, ends_with_letter=language_model is pyctcdecode.LanguageModel)
        width = (3, 12, 40)[seed % 3]
        expected = decoder.decode_beams(
            log_probs, beam_width=width, hotwords=hotwords, hotword_weight=WEIGHT
        )
        assert_same(ours(log_probs, scorer, width), expected)
    decoder.cleanup()


def test_expected_words_are_no_worse_for_being_unknown(ngrams):
    """Hotwords are told because the language model may never have heard of them."""
    scorer = LanguageModel(ngrams, alpha=ALPHA, beta=BETA)
    expecting = scorer.expecting(["zebra", "city", "gnu"])
    state, unknown = scorer.start(), -10 * ALPHA * math.log(10)
    for word, lost in (("zebra", unknown), ("gnu", unknown), ("yak", 0), ("city", 0), ("turn", 0)):
        score, after = scorer.word(state, word)
        found, then = expecting.word(state, word)
        assert found == pytest.approx(score - lost)
        assert expecting.word(then, "city")[0] == scorer.word(after, "city")[0]
        assert scorer.word(state, word)[0] == score, "the model itself is as it was"
    weighed = expecting.weighed(2 * ALPHA, None).word(state, "zebra")[0]
    plain = scorer.weighed(2 * ALPHA, None).word(state, "zebra")[0]
    assert weighed == pytest.approx(plain - 2 * unknown)


def test_a_hotword_without_a_weight_scores_by_its_letters():
    told = [Hotword("the city"), Hotword("cinema", 9.0), Hotword("city", 2.0), Hotword("city", 1.0)]
    scorer = Hotwords(NoScorer(), told, letter_weight=0.5)
    for word, expected in (("the", 1.5), ("city", 2.0), ("cinema", 9.0), ("ci", 0), ("cities", 0)):
        assert scorer.word(None, word) == (expected, None)
    for part, expected in (("t", 0.5), ("cit", 1.5), ("ci", 3.0), ("cinem", 7.5), ("x", 0.0)):
        assert scorer.part(part) == pytest.approx(expected), part
    longer = Hotwords(NoScorer(), [Hotword("city"), Hotword("citadel")], letter_weight=0.5)
    assert [longer.part("citadel"[:size]) for size in (1, 3, 5)] == [0.5, 1.5, 2.5]
    assert longer.word(None, "citadel")[0] == 3.5


def test_words_are_ranked_by_how_often_they_were_seen(ngrams):
    ranked = LanguageModel(ngrams, alpha=ALPHA, beta=BETA).ranked_words()
    assert set(ranked) == ngrams.words
    assert ranked.index("the") < ranked.index("city") < ranked.index("leave")


def test_a_compressed_file_is_the_same_model(ngrams, tmp_path):
    for name in ("lm.arpa", "lm.arpa.gz"):
        ngram.build([s.split() for s in SENTENCES], cutoffs=[0, 0], min_word_count=1).save(
            tmp_path / name
        )
    one, other = (load_ngrams(tmp_path / name) for name in ("lm.arpa", "lm.arpa.gz"))
    assert one.words == other.words >= {"kitchen", "it's"}
    assert one.model.score(SENTENCES[0]) == other.model.score(SENTENCES[0])


@pytest.mark.parametrize("name", ["absent.arpa", "text.arpa", "text.arpa.gz", "text.bin"])
def test_what_is_no_language_model_is_one_sentence(tmp_path, name):
    if name != "absent.arpa":
        (tmp_path / name).write_text("no language model\n")
    with pytest.raises(LanguageModelError, match=name) as caught:
        load_ngrams(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["kenlm", "pyctcdecode.language_model"])
def test_without_the_extra_one_sentence_says_so(ngrams, monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LanguageModelError, match=r"pip install -e '\.\[lm\]'"):
        LanguageModel(ngrams if package != "kenlm" else load_ngrams(tmp_path), alpha=1.0, beta=0.0)
