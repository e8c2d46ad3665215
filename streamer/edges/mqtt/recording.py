"""The audio of a dialog, kept for a client that has asked to get it back.

Owns its limit and the WAV it becomes. Must not know: topics, dialogs.
"""

import io
import wave

from streamer.messages import AudioFormat

MAX_RECORDED_BYTES = 960_000  # 30 s of 16 kHz mono; beyond it the oldest is dropped
SAMPLE_BYTES = 2


class Recording:
    """16-bit PCM since the last `take`; audio in another format begins it anew."""

    def __init__(self) -> None:
        self._audio = AudioFormat()
        self._data = bytearray()

    def add(self, audio: AudioFormat, data: bytes) -> None:
        """Append samples."""
        if audio != self._audio:
            self._audio = audio
            self._data.clear()
        self._data += data
        frame_bytes = SAMPLE_BYTES * audio.channels
        over = max(0, len(self._data) - MAX_RECORDED_BYTES)
        del self._data[: -(-over // frame_bytes) * frame_bytes]

    def take(self) -> bytes:
        """What was recorded, as a WAV file."""
        with io.BytesIO() as file:
            with wave.open(file, "wb") as written:
                written.setnchannels(self._audio.channels)
                written.setsampwidth(SAMPLE_BYTES)
                written.setframerate(self._audio.sample_rate)
                written.writeframes(self._data)
            self._data.clear()
            return file.getvalue()
