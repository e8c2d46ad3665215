"""Perplexity of a language model on texts it was not made from: one table.

    python -m tests.bench.perplexity --lm models/pretrained/tiny-en/lm.arpa.gz --data ../shared/data

Words that the model does not know are counted ("OOV") and left out of the perplexity; the ends of
sentences are in it. "held out" are the texts that synthesis keeps for testing.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

from models.training.data import normalize_text
from models.training.synthesis import read_texts
from streamer.language_model import load_ngrams


def texts(data: Path) -> Iterator[tuple[str, list[str]]]:
    lines = (data / "text" / "librispeech_devclean_lmdev.txt").read_text().splitlines()
    yield "librispeech dev", [normalize_text(line) for line in lines]
    with (data / "manifest.tsv").open(newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    spoken = [
        (row["id"].split("_")[0] + "_", normalize_text(row["transcript"]))
        for row in rows
        if "/dev/" in row["path"] and not row["id"].startswith("fd_")
    ]
    yield "people, dev", [text for _, text in spoken]
    for source in sorted({source for source, _ in spoken}):
        yield f"  {source}", [text for each, text in spoken if each == source]
    yield (
        "held out",
        [text for source in read_texts([data / "text"], heldout=True) for text in source],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lm", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_ngrams(arguments.lm).model
    print(f"{'texts':16} {'lines':>6} {'words':>7} {'OOV':>6} {'perplexity':>11}")
    for name, lines in texts(arguments.data):
        scores = [each for line in lines for each in model.full_scores(line)]
        known = [log_prob for log_prob, _, is_oov in scores if not is_oov]
        words = sum(len(line.split()) for line in lines)
        oov = (len(scores) - len(known)) / words
        perplexity = 10 ** (-sum(known) / len(known))
        print(f"{name:16} {len(lines):6} {words:7} {oov:6.1%} {perplexity:11.1f}")


if __name__ == "__main__":
    main()
