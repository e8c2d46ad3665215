"""How far the start and end of words are from where they were spoken: greedy, searched, realigned.

    python -m tests.bench.word_times

The speech is that of `tests.bench.latency`, whose word boundaries espeak-ng tells. Only words that
the final has right are counted. "searched" are the times of the beam that won, as they are without
realignment. Errors are time found minus time spoken; "off" is their absolute value.
"""

import argparse
from dataclasses import replace
from difflib import SequenceMatcher
from unittest.mock import patch

import numpy as np

from streamer.api import build_model
from streamer.config import ModelConfig
from streamer.core.hypothesis import Final
from streamer.core.realignment import Realigner
from streamer.core.recognizer import Recognizer
from tests.bench.latency import RATES, SENTENCES, VOICES, Speaker, Spoken


def unaligned(self: Realigner, tokens, until):
    placed = self.behind(tokens)
    self._end = placed[-1].end_frame if placed else self._end
    return placed


def errors(recognizer: Recognizer, spoken: Spoken) -> tuple[list[float], list[float]]:
    """Of the starts, and of the ends, in seconds."""
    events = recognizer.transcribe(spoken.samples)
    words = [word for event in events if isinstance(event, Final) for word in event.words]
    starts, ends = [], []
    said = [word.word for word in words]
    matcher = SequenceMatcher(None, spoken.words, said, autojunk=False)
    for match in matcher.get_matching_blocks():
        for offset in range(match.size):
            place, word = match.a + offset, words[match.b + offset]
            end_s = spoken.ends_s[place]
            if end_s is not None:
                ends.append(word.end - end_s)
            if place and (start_s := spoken.ends_s[place - 1]) is not None:
                starts.append(word.start - start_s)
    return starts, ends


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--preset", default="default")
    parser.add_argument(
        "--other-speakers", action="store_true", help="each sentence by another one"
    )
    arguments = parser.parse_args()
    speaker = Speaker()
    speech = [
        speaker.say(text, VOICES[i % len(VOICES)], RATES[i % len(RATES)])
        for i, text in enumerate(SENTENCES, start=int(arguments.other_speakers))
    ]
    print("                 words   start: error p50  off p50  p95 end: error p50  off p50  p95 ms")
    greedy = ModelConfig(name=arguments.model, preset=arguments.preset, lm="none")
    searched = replace(greedy, lm="model")
    kinds = {"greedy": (greedy, True), "searched": (searched, False), "realigned": (searched, True)}
    for name, (config, aligns) in kinds.items():
        recognizer = Recognizer(build_model(config))
        place = Realigner.place if aligns else unaligned
        with patch.object(Realigner, "place", place):
            found = [errors(recognizer, spoken) for spoken in speech]
        cells = []
        for column in zip(*found, strict=True):
            error = 1000 * np.concatenate([np.array(each) for each in column])
            cells += [np.median(error), *np.percentile(np.abs(error), (50, 95))]
        count = sum(len(ends) for _, ends in found)
        print(f"{name:16}{count:6}" + "".join(f"{cell:12.0f}" for cell in cells))


if __name__ == "__main__":
    main()
