from dataclasses import dataclass, replace
from itertools import groupby, pairwise, product

import numpy as np
import pytest

from streamer.core import beam
from streamer.core.beam import BeamRules, BeamState, Search, fold, n_best, open_tokens
from streamer.core.scoring import NoScorer

TEXTS = ("", " ", "a", "b", "c", "th", "<unk>")
BLANKS, DELIMITER = frozenset({0, 6}), 1
WIDE = BeamRules(width=10_000, prune_log_prob=-1e9, token_log_prob=-1e9)
LIVE = BeamRules(width=6, pause_frames=6, sentence_frames=15, word_frames=9, max_frames=30)
DOUBTING = replace(LIVE, width=8, word_frames=20, doubt=0.1)


@dataclass
class Bigrams:
    """A scorer that can be computed by hand: each word by itself and the one before it."""

    def start(self):
        return "<s>"

    def word(self, state, word):
        return -0.5 * len(word) + 0.7 * (state < word), word

    def end(self, state):
        return -0.1 * len(state)

    def part(self, part):
        return -0.25 * ("b" in part)


class Fond(Bigrams):
    """Of the word b."""

    def word(self, state, word):
        score, after = super().word(state, word)
        return score + 5 * (word == "b"), after

    def part(self, part):
        return 2.0


def search(rules=BeamRules(), scorer=None):  # noqa: B008
    return Search(TEXTS, BLANKS, DELIMITER, scorer or Bigrams(), rules)


def noise(seed, frames, sharpness):
    logits = np.random.default_rng(seed).normal(0, sharpness, (frames, len(TEXTS)))
    logits[:, 0] += sharpness  # blanks prevail, as CTC has it
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def certain(text, blanks=1, mass=0.999):
    """A letter (or a delimiter for a space, a pause for a dot) a frame, blanks behind each."""
    ids = [i for c in text for i in [0 if c == "." else TEXTS.index(c)] + [0] * blanks]
    probs = np.full((len(ids), len(TEXTS)), (1 - mass) / (len(TEXTS) - 1))
    probs[np.arange(len(ids)), ids] = mass
    return np.log(probs)


def spell(tokens):
    return "".join(" " if t.id == DELIMITER else TEXTS[t.id] for t in tokens)


def by_parts(log_probs, cuts, chosen):
    state, tokens = BeamState.start(chosen.scorer), []
    for begin, end in pairwise([0, *sorted(cuts), len(log_probs)]):
        state, settled = fold(state, log_probs[begin:end], chosen)
        tokens += settled
    return state, tokens


def result(state, tokens, chosen):
    found = [each[:4] for each in n_best(state, chosen)]
    return tokens, found, open_tokens(state, chosen), state.frames, state.due


@pytest.mark.parametrize(
    "rules", [BeamRules(width=5), LIVE, DOUBTING], ids=["plain", "live", "doubting"]
)
@pytest.mark.parametrize("seed", range(30))
def test_any_cut_of_the_frames_gives_the_same_to_the_last_bit(rules, seed):
    rng = np.random.default_rng(seed)
    log_probs = noise(seed, frames=60, sharpness=rng.choice([2, 4, 8]))
    whole = result(*by_parts(log_probs, [], search(rules)), search(rules))
    for _ in range(3):
        cuts = rng.integers(0, 61, rng.integers(1, 12)).tolist()
        assert result(*by_parts(log_probs, cuts, search(rules)), search(rules)) == whole
    assert result(*by_parts(log_probs, range(1, 60), search(rules)), search(rules)) == whole


def text_of(ids):
    """CTC's collapse, and single spaces."""
    kept = [i for i, _ in groupby(-1 if i in BLANKS else i for i in ids) if i != -1]
    return " ".join("".join(TEXTS[i] for i in kept).split())


@pytest.mark.parametrize("seed", range(4))
def test_without_pruning_every_score_is_the_sum_over_all_paths(seed):
    log_probs = noise(seed, frames=5, sharpness=1.5)
    totals: dict[str, float] = {}
    for ids in product(range(len(TEXTS)), repeat=5):
        logit = sum(row[i] for row, i in zip(log_probs, ids, strict=True))
        totals[text_of(ids)] = np.logaddexp(totals.get(text_of(ids), -np.inf), logit)
    chosen, scorer = search(WIDE), Bigrams()
    state, tokens = by_parts(log_probs, [], chosen)
    found = {(spell(tokens) + c.text).strip(): c for c in n_best(state, chosen)}
    assert found.keys() == totals.keys()
    for text, candidate in found.items():
        before, expected = scorer.start(), totals[text]
        for word in text.split():
            score, before = scorer.word(before, word)
            expected += score
        assert candidate.logit == pytest.approx(totals[text])
        assert candidate.score == pytest.approx(expected + scorer.end(before))


def babble(seed, words):
    """Random words, each of their letters likely, in some noise."""
    rng = np.random.default_rng(seed)
    text = "".join("".join(rng.choice(list("abc"), rng.integers(1, 4))) + " " for _ in range(words))
    clear = certain(text)
    blurred = clear + 2 * noise(seed, len(clear), 1.0)
    return blurred - np.log(np.exp(blurred).sum(axis=1, keepdims=True))


STRICT = BeamRules(width=4, prune_log_prob=-1.5)  # soon of one opinion


@pytest.mark.parametrize("rules", [STRICT, LIVE], ids=["plain", "live"])
@pytest.mark.parametrize("seed", range(20))
def test_words_that_all_live_beams_share_are_settled_at_once_and_in_order(rules, seed):
    chosen = search(rules)
    log_probs = babble(seed, words=12)
    state, tokens = BeamState.start(chosen.scorer), []
    for frame in log_probs:
        state, settled = fold(state, frame[None], chosen)
        tokens += settled
        firsts = {each[2].partition(" ")[0] if each[2] else None for each in state.beams}
        assert len(firsts) > 1 or firsts == {None}, "a shared word is settled at once"
    _, rest = beam.finish(state, chosen)
    assert tokens or rules is STRICT, "nothing was settled on the way"
    starts = [t.start_frame for t in tokens + rest if t.id != DELIMITER]
    ends = [t.end_frame for t in tokens + rest if t.id != DELIMITER]
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end <= start for end, start in zip(ends[:-1], starts[1:], strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_what_settles_by_consensus_is_in_every_hypothesis_of_an_unsettled_search(monkeypatch, seed):
    """The search does not notice: the n-best are those of one that never settles anything."""
    log_probs = babble(seed, words=8)
    chosen = search(STRICT)
    state, tokens = by_parts(log_probs, [], chosen)
    monkeypatch.setattr(beam, "_due", lambda *_: beam.NEVER)
    deaf, none = by_parts(log_probs, [], chosen)
    assert none == []
    ours = [(spell(tokens) + c.text, c.logit, c.score) for c in n_best(state, chosen)]
    assert tokens
    assert [(t.strip(), *s) for t, *s in ours] == [c[:3] for c in n_best(deaf, chosen)]


def test_a_pause_settles_the_word_without_its_delimiter():
    rules = BeamRules(pause_frames=6)
    log_probs = certain("ab.....")
    for frames, expected in ((8, ""), (9, "ab ")):
        state, tokens = by_parts(log_probs[:frames], [], search(rules))
        assert (frames, spell(tokens)) == (frames, expected)
    assert [(t.start_frame, t.end_frame) for t in tokens] == [(0, 1), (2, 3), (3, 3)]
    state, tokens = fold(state, certain(" c "), search(rules))
    assert spell(tokens) == "c "


def rivals(words, share=0.45):
    """Each word is a, nearly as likely b, then a delimiter: beams disagree about all of them."""
    log_probs = certain("a " * words, blanks=0)
    log_probs[::2, TEXTS.index("b")] = np.log(share)
    log_probs[::2, TEXTS.index("a")] = np.log(1 - share - 0.01)
    return log_probs


def test_a_whole_word_waits_so_many_frames_behind_its_end():
    loose = BeamRules(width=64, prune_log_prob=-40)
    state, tokens = by_parts(rivals(4), [], search(loose, NoScorer()))
    assert tokens == []
    chosen = search(replace(loose, word_frames=4), NoScorer())
    for frames, expected in ((4, ""), (5, "a "), (6, "a "), (7, "a a "), (8, "a a ")):
        state, tokens = by_parts(rivals(4)[:frames], [], chosen)
        assert (frames, spell(tokens)) == (frames, expected)  # words end at 1, 3, 5
    assert spell(open_tokens(state, chosen)) == "a a "
    assert {each[2] for each in state.beams} > {"a a ", "a b "}, "the words behind it are open"


@pytest.mark.parametrize("share", [0.03, 0.2])
def test_a_word_against_which_little_speaks_is_settled_with_its_delimiter(share):
    """The rest is dropped: no later frame brings it back."""
    log_probs = rivals(3, share)
    for doubt, expected in ((0.0, ""), (0.9 * share, ""), (1.1 * share, "a a a ")):
        chosen = search(BeamRules(width=64, doubt=doubt), NoScorer())
        state, tokens = by_parts(log_probs, [], chosen)
        assert spell(tokens) == expected
    assert {each[2] for each in state.beams} == {""}
    state, tokens = fold(BeamState.start(chosen.scorer), log_probs[:2], chosen)
    assert spell(tokens) == "a ", "at once"


@pytest.mark.parametrize("seed", range(10))
def test_settled_in_doubt_stays_and_what_follows_goes_on_from_it(seed):
    chosen = search(DOUBTING)
    log_probs = babble(seed, words=12)
    state, text = BeamState.start(chosen.scorer), ""
    for frame in log_probs:
        state, settled = fold(state, frame[None], chosen)
        text += spell(settled)
        firsts = [each[2].partition(" ")[0] if each[2] else "" for each in state.beams]
        weights = np.exp([each[0] + each[1] - sum(state.beams[0][:2]) for each in state.beams])
        against = weights[[first != firsts[0] for first in firsts]].sum() / weights.sum()
        assert not firsts[0] or against > DOUBTING.doubt
    assert text


def test_an_endless_word_is_closed():
    chosen = search(BeamRules(max_frames=10), NoScorer())
    _, tokens = by_parts(certain("abc" * 8), [], chosen)
    assert [len(word) for word in spell(tokens).split()] == [5, 5, 5, 5]


def test_long_silence_begins_a_new_sentence():
    scorer = Bigrams()
    for pause, before in ((4, "c"), (5, "<s>")):
        chosen = search(BeamRules(pause_frames=3, sentence_frames=10), scorer)
        state, _ = by_parts(certain("c" + "." * pause), [], chosen)
        assert state.beams[0][5].state == before


def test_times_and_confidences_are_those_of_the_runs():
    log_probs = certain("aab. c", blanks=0)
    log_probs[1, 2] = np.log(0.9995)
    state, tokens = by_parts(log_probs, [], search())
    tokens += beam.finish(state, search())[1]
    assert [(spell([t]), t.start_frame, t.end_frame) for t in tokens] == [
        ("a", 0, 2),
        ("b", 2, 3),
        (" ", 3, 3),
        ("c", 5, 6),
        (" ", 6, 6),
    ]
    assert tokens[0].log_prob == log_probs[1, 2]


def test_equal_letters_need_a_blank_between_them():
    state, _ = by_parts(certain("aa.a", blanks=0), [], search())
    assert n_best(state, search())[0].text == "aa"


def test_nothing_grows_over_many_words():
    """Texts, histories and tokens are those of the unsettled words, however long it goes on."""
    chosen = search(LIVE)
    state, sizes = BeamState.start(chosen.scorer), []
    for seed in range(40):
        state, _ = fold(state, noise(seed, frames=50, sharpness=4), chosen)
        sizes.append(max(len(b[2]) + len(b[3]) + len(b[6]) + len(b[7]) for b in state.beams))
    assert max(sizes) < 100
    assert len(state.beams) <= LIVE.width


def test_a_history_forgets_words_when_there_are_too_many():
    history = beam.History(0.0, "<s>")
    first = history.child("w0", Bigrams())
    assert history.child("w0", Bigrams()) is first
    for index in range(1000):
        history.child(f"w{index}", Bigrams())
    assert len(history._children) <= 256
    assert history.child("w0", Bigrams()).score == first.score


def test_another_scorer_judges_what_comes():
    """Words that are whole keep their scores; remembered ones that may come are forgotten."""
    old, new = search(), search(scorer=Fond())
    state, _ = by_parts(certain("a b"), [], old)
    known = Bigrams().word("<s>", "a")[0] + Bigrams().word("a", "b")[0] - 0.1
    before, after = n_best(state, old)[0], n_best(state := beam.resumed(state, new), new)[0]
    assert before.text.split()[-1] == after.text.split()[-1] == "b"
    assert before.score - before.logit == pytest.approx(known)
    assert after.score - after.logit == pytest.approx(known + 5)
    assert state.beams[0][1] == pytest.approx(Bigrams().word("<s>", "a")[0] + 2)
