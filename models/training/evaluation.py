"""Word error rate of a network under training: streamed, and with full context.

Owns the geometry that stands for streaming here: chunks of 320 ms, 3.2 s of left context. By the
exactness of the engine these are the words that it would stream. Greedy, no language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import torch

from models.acoustic import AcousticModel
from models.training.data import SAMPLE_RATE
from models.training.dataset import Utterance, epoch, load
from models.training.labels import Alphabet
from models.training.world import World
from models.wav2vec2_bert import Chunking

CHUNK_S = 0.32
LEFT_S = 3.2


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Word error rates, 1.0 = as many errors as words."""

    streamed: float
    full_context: float


def streaming_mask(acoustic: AcousticModel) -> Chunking:
    """The chunk mask of an evaluation, in input frames of this network."""
    hop = acoustic.hop_samples
    chunk, left = (max(1, round(s * SAMPLE_RATE / hop)) for s in (CHUNK_S, LEFT_S))
    return Chunking(left * acoustic.stride, chunk * acoustic.stride)


def error_rates(
    acoustic: AcousticModel, clips: Sequence[Utterance], batch_s: float, world: World
) -> ErrorRates:
    """Recognise ``clips``, every process its share, in batches of ``batch_s`` seconds."""
    alphabet, mask = Alphabet(acoustic.vocabulary), streaming_mask(acoustic)
    mine = clips[world.rank :: world.size]
    batches = iter(epoch([clip.samples for clip in mine], batch_s, 0, 0) if mine else [])
    words, streamed, full = 0, 0, 0
    for _, batch in load(mine, batches, 0, 1):
        audio = torch.from_numpy(batch.audio).to(world.device).float() / 2**15
        samples = torch.from_numpy(batch.lengths).to(world.device)
        said = [_recognise(acoustic, alphabet, audio, samples, each) for each in (mask, None)]
        words += sum(len(text.split()) for text in batch.texts)
        streamed += _errors(batch.texts, said[0])
        full += _errors(batch.texts, said[1])
    total, *errors = world.total(words, streamed, full)
    return ErrorRates(*(each / max(1.0, total) for each in errors))


@torch.inference_mode()
def _recognise(
    acoustic: AcousticModel,
    alphabet: Alphabet,
    audio: torch.Tensor,
    samples: torch.Tensor,
    mask: Chunking | None,
) -> list[str]:
    log_probs, frames = acoustic(audio, samples, mask)
    ids = log_probs.argmax(dim=-1).tolist()
    return [alphabet.decode(row[:count]) for row, count in zip(ids, frames.tolist(), strict=True)]


def _errors(texts: list[str], said: list[str]) -> int:
    counted = jiwer.process_words(texts, said)
    return counted.substitutions + counted.deletions + counted.insertions
