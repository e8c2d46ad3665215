"""Language models and hotwords for the beam search: the extra `lm`, behind the core's `Scorer`.

Owns what is known of pyctcdecode and KenLM: their scores are used as they are. Must not know:
frames, beams, streams.
"""

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KNOWN_PARTS = 1 << 16  # words begun whose scores are remembered


class LanguageModelError(Exception):
    """A language model cannot be had; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Ngrams:
    """A KenLM model and the words it knows."""

    model: Any
    words: frozenset[str]


def load_ngrams(path: Path) -> Ngrams:
    """Read an ARPA file, .gz or not, or a binary of KenLM's (whose words nobody can list).

    Raises LanguageModelError: no such file, not a language model, or the extra is not installed.
    """
    kenlm = _imported("kenlm")
    try:
        if path.suffix != ".gz":
            return _opened(kenlm, path)
        # KenLM reads compressed files only where zlib was there when it was built.
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / path.stem
            plain.write_bytes(gzip.decompress(path.read_bytes()))
            return _opened(kenlm, plain)
    except (OSError, EOFError, ValueError) as error:
        raise LanguageModelError(f"{path} cannot be read as a language model: {error}") from error


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LanguageModelError(
            f"this needs the Python package {name}: pip install -e '.[lm]'"
        ) from error


def _opened(kenlm: Any, path: Path) -> Ngrams:
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    model = kenlm.Model(str(path), config)
    return Ngrams(model, frozenset(_unigrams(path)) if path.suffix == ".arpa" else frozenset())


def _unigrams(path: Path) -> list[str]:
    words: list[str] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("\\2-grams:"):
                break
            fields = line.rstrip("\n").split("\t")
            if len(fields) > 1 and not fields[1].startswith("<"):
                words.append(fields[1])
    return words
