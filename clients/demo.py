"""`make demo`: start a server, speak a clip to it in real time, and watch the words arrive.

Everything is real: a server process, a websocket, the Python client. Prints the partials as they
grow, then the final, its word error rate, the latency of the first partial and what to try next.
Must not know: models, engines.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from clients.python import RecognizerError, recognize
from streamer.edges.audio_file import AudioFile, stream
from streamer.edges.terminal import LiveCaption
from streamer.messages import Final, Partial

CLIP = Path(__file__).with_name("demo.flac")  # synthesised with espeak-ng for this project
SPOKEN = "please turn on the lamp in the kitchen and tell me when the train to the city will leave"
ON_TERMINAL = "Bright words stand for good, dim ones may still change:"
ELSEWHERE = "A line for each time that the words change; those in [brackets] may change again:"
NEXT = """Try next, after `source .venv/bin/activate`:
  streamer listen                          your microphone, live, in this terminal
  streamer serve                           a server; open http://127.0.0.1:8765/ and speak
  streamer transcribe FILE --format srt    captions for a recording
For real work bring a strong public model, since the one that ships is small:
  pip install -e '.[hub]'
  streamer transcribe FILE --mode window --model hf-audio/wav2vec2-bert-CV16-en
README.md and docs/ have the rest."""


async def main() -> int:
    """Run the demonstration; returns its exit status."""
    print("Starting `streamer serve` with the model that ships; that takes seconds.", flush=True)
    command = (sys.executable, "-m", "streamer", "serve", "--port", "0", "--log-level", "warning")
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    try:
        greeting = (await server.stdout.readline()).decode().strip()
        url = re.search(r"ws://\S+/v1/stream", greeting)
        if url is None:  # the server has said why, on stderr
            return 1
        print(f"It says: {greeting}", flush=True)
        await _show(url.group())
        print(f"\n{NEXT}")
        return 0
    except RecognizerError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _show(url: str) -> None:
    """Speak the clip to the server, and print what comes back while it is spoken."""
    loop, shown, finals = asyncio.get_running_loop(), _Shown(), list[Final]()
    began_s, first_latency_s = loop.time(), 0.0
    with AudioFile(CLIP) as file:
        print(
            f"A client speaks {CLIP.name} to it, {file.duration_s or 0:.1f} s, as one would talk."
        )
        print(f"{shown.explanation}\n", flush=True)
        async for message in recognize(url, _pcm(file)):
            now_s = loop.time() - began_s
            if isinstance(message, Partial):
                if not first_latency_s and message.words:
                    first_latency_s = now_s - message.words[0].start
                shown.show(message, now_s)
            elif isinstance(message, Final):
                finals.append(message)
                shown.show(message, now_s)
    _judge(finals, first_latency_s)


class _Shown:
    """Captions that are redrawn in place, or off a terminal a line for each change."""

    def __init__(self) -> None:
        self._caption = LiveCaption(sys.stdout) if sys.stdout.isatty() else None
        self.explanation = ON_TERMINAL if self._caption else ELSEWHERE

    def show(self, message: Partial | Final, now_s: float) -> None:
        if self._caption:
            self._caption.show(message)
            return
        text = message.text if isinstance(message, Final) else message.committed
        if isinstance(message, Partial) and message.tail:
            text = f"{text} [{message.tail}]".lstrip()
        print(f"{now_s:5.1f} s  {text}", flush=True)


def _judge(finals: Sequence[Final], first_latency_s: float) -> None:
    heard = " ".join(final.text for final in finals)
    error_rate = word_error_rate(SPOKEN.split(), heard.split())
    print(f"\nspoken:  {SPOKEN}\nheard:   {heard}")
    print(f"word error rate: {error_rate:.1%} of {len(SPOKEN.split())} words")
    if first_latency_s:
        print(f"first partial: {first_latency_s:.2f} s after its first word began")
    words = [word for final in finals for word in final.words]
    if words:
        last = words[-1]
        print(f"every word has its times: {last.word!r} from {last.start:.2f} to {last.end:.2f} s")


async def _pcm(file: AudioFile) -> AsyncIterator[bytes]:
    async for samples in stream(file, realtime=True):
        yield (samples * 32767).astype("<i2").tobytes()


def word_error_rate(spoken: list[str], heard: list[str]) -> float:
    """Insertions, deletions and substitutions over the words spoken."""
    costs = list(range(len(heard) + 1))  # of turning the words spoken so far into heard[:j]
    for i, word in enumerate(spoken, 1):
        diagonal, costs[0] = costs[0], i
        for j, other in enumerate(heard, 1):
            cheapest = min(diagonal + (word != other), costs[j] + 1, costs[j - 1] + 1)
            diagonal, costs[j] = costs[j], cheapest
    return costs[-1] / len(spoken)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
