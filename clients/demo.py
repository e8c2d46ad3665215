"""`make demo`: start a server, speak a clip to it in real time, and watch the words arrive.

Everything is real: a server process, a websocket, the Python client. Prints the partials as they
grow, then the final, its word error rate, the latency of the first partial and what to try next.
Must not know: models, engines.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from clients.python import RecognizerError, recognize
from streamer.edges.audio_file import AudioFile, stream
from streamer.edges.terminal import LiveCaption
from streamer.messages import Final, Partial

CLIP = Path(__file__).with_name("demo.flac")  # synthesised with espeak-ng for this project
SPOKEN = "please turn on the lamp in the kitchen and tell me when the train to the city will leave"
NEXT = """Try next:
  streamer listen                                your microphone, live
  streamer serve                                 a server; then: python -m clients.python FILE
  streamer transcribe FILE --format srt          captions for a recording
  pip install -e '.[hub]'                        and bring a strong public checkpoint:
  streamer transcribe FILE --mode window --model hf-audio/wav2vec2-bert-CV16-en
(the command is .venv/bin/streamer, or `streamer` after: source .venv/bin/activate)"""


async def main() -> int:
    """Run the demonstration; returns its exit status."""
    command = (sys.executable, "-m", "streamer", "serve", "--port", "0")
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    try:
        greeting = (await server.stdout.readline()).decode().strip()
        url = re.search(r"ws://\S+/v1/stream", greeting)
        if url is None:  # the server has said why, on stderr
            return 1
        print(f"{greeting}\nspeaking {CLIP.name} in real time:\n", flush=True)
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
    loop, caption, finals = asyncio.get_running_loop(), LiveCaption(sys.stdout), list[Final]()
    began, first_latency_s = loop.time(), 0.0
    with AudioFile(CLIP) as file:
        async for message in recognize(url, _pcm(file)):
            if isinstance(message, Partial):
                if not first_latency_s and message.words:
                    first_latency_s = loop.time() - began - message.words[0].start
                caption.show(message)
            elif isinstance(message, Final):
                finals.append(message)
                caption.show(message)
    heard = " ".join(final.text for final in finals)
    print(f"\nspoken:  {SPOKEN}\nheard:   {heard}")
    for final in finals:
        print(f"times:   {' '.join(f'{word.word}@{word.start:.2f}' for word in final.words)}")
    print(f"word error rate: {word_error_rate(SPOKEN.split(), heard.split()):.1%}")
    print(f"first partial: {first_latency_s:.2f} s after its first word began")


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
