"""Decodes one Ogg or WebM stream with Opus: a program of its own, run by `streamer.container`.

Reads blocks from stdin, each behind its length; writes 16 kHz PCM16 to stdout, behind its length
too, and a length of 0 whenever it needs the next block. A block without bytes is the end. The
input is a stranger's: this process has no files, little memory and a limit of computing time, and
nothing that happens to it happens to the server.
"""

import resource
import struct
import sys

import av
import av.subtitles.stream  # the library would, when there are no files any more

MEMORY_BYTES = 1 << 30  # of addresses: the libraries alone take half
CPU_S = 3_600  # a day of speech takes minutes
FORMATS = {"ogg_opus": "ogg", "webm_opus": "matroska"}
SAMPLE_RATE = 16_000
PROBE_BYTES = 4_096  # words must not wait for more


class Input:
    """The stream as the demuxer reads it; asks for a block whenever it has none."""

    def __init__(self) -> None:
        self._block = b""
        self.is_over = False

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end."""
        if not self._block and not self.is_over:
            write(b"")
            (length,) = struct.unpack("<I", sys.stdin.buffer.read(4))
            self._block = sys.stdin.buffer.read(length)
            self.is_over = length == 0
        part, self._block = self._block[:size], self._block[size:]
        return part


def write(data: bytes) -> None:
    """One message to the server."""
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)
    sys.stdout.buffer.flush()


def decode(stream: Input, encoding: str) -> None:
    """Write what the stream says, until it ends."""
    options = {"codec_whitelist": "opus,libopus", "probesize": str(PROBE_BYTES)}
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    form = FORMATS[encoding]
    with av.open(stream, mode="r", format=form, container_options=options) as container:
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                write(bytes(part.planes[0])[: part.samples * 2])
        for part in resampler.resample(None):
            write(bytes(part.planes[0])[: part.samples * 2])


def main() -> None:
    """Obey the limits, decode, and read to the end."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stream = Input()
    decode(stream, sys.argv[1])
    while not stream.is_over:
        stream.read(1)


if __name__ == "__main__":
    main()
