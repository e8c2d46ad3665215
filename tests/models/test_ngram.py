import itertools
import random
from collections import Counter

import pytest

from models.training import ngram
from streamer.language_model import load_ngrams

kenlm = pytest.importorskip("kenlm")


def corpus(seed: int, sentences: int, words: int) -> list[list[str]]:
    """Sentences in which some words follow others more often, and some are rare."""
    rng = random.Random(seed)
    names = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(words)]
    weights = [1 / (i + 1) for i in range(words)]
    made = []
    for _ in range(sentences):
        sentence = rng.choices(names, weights, k=rng.randint(1, 7))
        made.append(
            [w for pair in sentence for w in ((pair, names[0]) if rng.random() < 0.2 else (pair,))]
        )
    return made


def textbook(sentences, order, min_word_count):
    """p(word | history) by the formulas of Chen & Goodman, with dictionaries and recursion."""
    seen = Counter(w for s in sentences for w in s)
    vocabulary = {w for w, n in seen.items() if n >= min_word_count} | {"</s>", "<unk>"}
    padded = [["<s>", *(w if w in vocabulary else "<unk>" for w in s), "</s>"] for s in sentences]
    raw = [
        Counter(tuple(s[i : i + k]) for s in padded for i in range(len(s) - k + 1))
        for k in range(1, order + 1)
    ]
    del raw[0]["<s>",]
    counts = [
        {
            g: sum(h[1:] == g for h in raw[k]) if k < order and g[0] != "<s>" else n
            for g, n in raw[k - 1].items()
        }
        for k in range(1, order + 1)
    ]
    taken = []
    for of_order in counts:
        n1, n2, n3, n4 = (sum(c == n for c in of_order.values()) for n in (1, 2, 3, 4))
        if n1 * n2 * n3 * n4 == 0:  # nothing to estimate from: what lmplz takes then
            taken.append([0, 0.5, 1.0, 1.5])
            continue
        y = n1 / (n1 + 2 * n2)
        taken.append([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    assert taken[-1][1] != 0.5, "the corpus must have counts of counts"

    def probability(word, history):
        k = len(history) + 1
        extensions = {g[-1]: c for g, c in counts[k - 1].items() if g[:-1] == history}
        lower = probability(word, history[1:]) if history else 1 / len(vocabulary)
        if not extensions:
            return lower
        total = sum(extensions.values())
        stays = {w: c - taken[k - 1][min(c, 3)] for w, c in extensions.items()}
        if k > 1:
            known = "<unk>" not in history
            stays = {w: s for w, s in stays.items() if known and w != "<unk>"}
        return stays.get(word, 0.0) / total + (1 - sum(stays.values()) / total) * lower

    return sorted(vocabulary), probability


def conditional(model, history):
    """log10 p(word | history) of KenLM, for any word."""
    state, after = kenlm.State(), kenlm.State()
    if history and history[0] == "<s>":
        model.BeginSentenceWrite(state)
        history = history[1:]
    else:
        model.NullContextWrite(state)
    for word in history:
        model.BaseScore(state, word, after)
        state, after = after, state
    return lambda word: model.BaseScore(state, word, after)


def histories(vocabulary, length):
    words = [w for w in vocabulary if w not in ("</s>", "<unk>")] + ["never"]
    for k in range(length + 1):
        for history in itertools.product(words, repeat=k):
            yield history
            yield ("<s>", *history[: length - 1])


@pytest.mark.parametrize("suffix", [".arpa", ".arpa.gz"])
def test_probabilities_are_those_of_the_formulas(tmp_path, suffix):
    sentences = corpus(seed=3, sentences=200, words=9)
    path = tmp_path / f"lm{suffix}"
    ngram.build(sentences, cutoffs=[0, 0, 0], min_word_count=12).save(path)
    model = load_ngrams(path).model
    vocabulary, probability = textbook(sentences, 3, 12)
    assert model.order == 3
    checked = 0
    for history in set(histories(vocabulary, 2)):
        if "never" in history:
            continue
        score = conditional(model, history)
        for word in vocabulary:
            assert 10 ** score(word) == pytest.approx(probability(word, history), rel=5e-4), (
                history,
                word,
            )
            checked += 1
    assert checked > 500


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("cutoffs", "min_word_count"),
    [([0, 0, 0], 1), ([0, 0, 1], 2), ([0, 1, 2], 2), ([0, 0, 1, 1], 3), ([0, 1], 1)],
)
def test_every_history_shares_out_exactly_one(tmp_path, seed, cutoffs, min_word_count):
    """Whatever was cut away, and for histories that were never seen too."""
    sentences = corpus(seed, sentences=60, words=12)
    model = ngram.build(sentences, cutoffs=cutoffs, min_word_count=min_word_count)
    model.save(tmp_path / "lm.arpa")
    ngrams = load_ngrams(tmp_path / "lm.arpa")
    assert ngrams.words == set(model.words) - set(ngram.SPECIALS)
    vocabulary = [word for word in model.words if word != "<s>"]
    for history in set(histories(vocabulary, len(cutoffs) - 1 if len(cutoffs) < 4 else 2)):
        score = conditional(ngrams.model, history)
        assert sum(10 ** score(word) for word in vocabulary) == pytest.approx(1, abs=3e-4), history


def test_a_seldom_ngram_is_not_in_the_file_but_its_words_are(tmp_path):
    sentences = [["a", "b"]] * 3 + [["b", "a"]] + [["a", "once"]]
    model = ngram.build(sentences, cutoffs=[0, 1], min_word_count=2)
    model.save(tmp_path / "lm.arpa")
    lines = {
        line.split("\t")[1]
        for line in (tmp_path / "lm.arpa").read_text().split("\n")
        if "\t" in line
    }
    assert {"a", "b", "<unk>", "a b", "<s> a"} <= lines
    assert not {"once", "b a", "a once", "a <unk>"} & lines


def test_the_same_texts_give_the_same_bytes(tmp_path):
    for name in ("1.arpa.gz", "2.arpa.gz"):
        ngram.build(corpus(1, 50, 12), cutoffs=[0, 0, 1], min_word_count=2).save(tmp_path / name)
    assert (tmp_path / "1.arpa.gz").read_bytes() == (tmp_path / "2.arpa.gz").read_bytes()


def test_discounts_are_those_of_the_paper():
    counts = [1] * 10 + [2] * 5 + [3] * 3 + [4] * 2 + [9] * 4
    y = 10 / 20
    expected = [1 - 2 * y * 5 / 10, 2 - 3 * y * 3 / 5, 3 - 4 * y * 2 / 3]
    assert ngram.discounts(ngram.np.array(counts)) == pytest.approx(expected)
    assert ngram.discounts(ngram.np.array([5, 6])) == pytest.approx(ngram.FALLBACK_DISCOUNTS)


@pytest.mark.parametrize("cutoffs", [[], [0], [1, 1], [0, 2, 1]])
def test_cutoffs_must_not_fall(cutoffs):
    with pytest.raises(ValueError, match="never fall"):
        ngram.build([["a"]], cutoffs=cutoffs, min_word_count=1)


def test_texts_for_measuring_stay_outside(tmp_path):
    heldout = next(t for t in (f"say {'a' * i}" for i in range(1000)) if ngram.is_heldout(t))
    lines = [
        "Turn ON, the lamp!",
        heldout,
        "yes",
        "he said do you value your hide to me",
        "turn on the lamp",
    ]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "a.raw.txt").write_text("Cased")
    (tmp_path / "x_lmdev.txt").write_text("for measuring")
    (tmp_path / "manifest.tsv").write_text(
        "id\tpath\ttranscript\n1\taudio/dev/1.flac\tDo you value your hide?\n"
        "2\taudio/dev/2.flac\tyes\n3\taudio/train/3.opus\tturn on the lamp\n"
    )
    left_out = frozenset(ngram.dev_transcripts(tmp_path / "manifest.tsv"))
    assert list(ngram.read_sentences([tmp_path], left_out)) == [["turn", "on", "the", "lamp"]]


def test_the_command_makes_a_model_that_loads(tmp_path, capsys):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("\n".join(" ".join(s).replace("w", "") for s in corpus(5, 90, 9)))
    out = tmp_path / "new" / "lm.arpa.gz"
    ngram.main(["--texts", str(texts), "--out", str(out), "--cutoffs", "0", "0"])
    assert "2-grams" in capsys.readouterr().out
    assert load_ngrams(out).model.order == 2
