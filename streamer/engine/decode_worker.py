"""Decodes the chunks of some streams: a process of its own, run by `decode_workers`.

Reads pickles from stdin: the search, then requests. Those with chunks are answered on stdout, in
their order, by a pickle behind its length. Both ends are one program of one user. Must not know:
sessions, the model, tasks.
"""

import contextlib
import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import BinaryIO, TypeAlias

from streamer.core.decoder import BeamSearch, Chunk, Decoded, Decoder
from streamer.core.decoding import DecoderSettings, new_decoder

LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Request:
    """The next chunks of a stream, with its first ones the settings; no chunks: it is over."""

    stream: int
    chunks: Sequence[Chunk] = ()
    settings: DecoderSettings | None = None


Answer: TypeAlias = tuple[int, list[Decoded], str, float]
"""The stream, what became of its chunks, what it raised on the one behind these, and seconds."""


def main() -> None:
    """Serve until stdin ends; signals that end the server are for the server."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # whatever a library prints
        with contextlib.suppress(EOFError, pickle.UnpicklingError, BrokenPipeError):
            _serve(sys.stdin.buffer, answers)  # until the server has gone


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """The loop: one request after the other, a decoder for each stream."""
    search: BeamSearch = pickle.load(requests)  # noqa: S301 (from our own server)
    _write(answers, b"")  # ready
    decoders: dict[int, Decoder] = {}
    while True:
        request: Request = pickle.load(requests)  # noqa: S301
        if not request.chunks:
            decoders.pop(request.stream, None)
            continue
        decoded: list[Decoded] = []
        error, began_s = "", perf_counter()
        try:
            if request.settings is not None:
                decoders[request.stream] = new_decoder(search, request.settings)
            decoded += map(decoders[request.stream].decode, request.chunks)
        except Exception:  # a fault of one stream must not stop the others
            error = traceback.format_exc()
        answer: Answer = request.stream, decoded, error, perf_counter() - began_s
        _write(answers, pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


def _write(answers: BinaryIO, data: bytes) -> None:
    answers.write(LENGTH.pack(len(data)) + data)
    answers.flush()
