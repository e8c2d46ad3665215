"""What it costs to write events as JSON: one table.

    python -m tests.bench.events [TIMES]

Processor time of `messages.encode`, the least of five runs. A partial is sent for every chunk with
something new in it, so its words are those of the utterance so far.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

from streamer import messages
from streamer.messages import Ack, Partial, Word


def spoken(words: int) -> Partial:
    said = tuple(Word(f"word{at}", 0.3 * at, 0.3 * at + 0.25, 0.912345) for at in range(words))
    text = " ".join(word.word for word in said[:-1])
    return Partial(0, words, text, said[-1].word, said, said[0].start, said[-1].end)


def least_us(work: Callable[[], object], times: int) -> float:
    taken_s = []
    for _ in range(5):
        start_s = time.process_time()
        for _ in range(times):
            work()
        taken_s.append(time.process_time() - start_s)
    return 1e6 * min(taken_s) / times


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000
    print("event                 with words   without, µs")
    for words in (1, 10, 40):
        event = spoken(words)
        whole = least_us(partial(messages.encode, event), times)
        short = least_us(partial(messages.encode, event, words=False), times)
        print(f"partial, {words:2d} words   {whole:12.1f} {short:13.1f}")
    print(f"ack {least_us(partial(messages.encode, Ack(48_000)), times):42.1f}")


if __name__ == "__main__":
    main()
