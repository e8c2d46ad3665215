"""What a client's audio must be like: numbers, and no faster than it may come.

Owns the allowance of a session, which grows with time also while nobody has the session. Must not
know: sockets, how audio is decoded, any clock (the time is handed in).
"""

from streamer.audio import SAMPLE_RATE, AudioError
from streamer.edges.websocket.peer import PeerError

MAX_AHEAD_S = 60.0  # a client that comes back sends again what it has kept, at once
MAX_BAD_SHARE = 0.01  # of a second's samples may be no numbers


class Guard:
    """One session's. `max_speed`: times real time that audio may go on coming; 0: any."""

    def __init__(self, max_speed: float) -> None:
        self._max_speed = max_speed
        self._used_until = 0.0  # time up to which the allowance is used
        self._count = self._bad = 0  # samples of a second that is not full

    def check_pace(self, samples: int, now: float) -> None:
        """Count samples at 16 kHz; PeerError("too_fast") if they are more than MAX_AHEAD_S early.

        They are taken all the same: a session that is kept goes on behind them.
        """
        if not self._max_speed:
            return
        taken_s = samples / SAMPLE_RATE / self._max_speed
        self._used_until = max(self._used_until, now) + taken_s
        ahead_s = self._used_until - now
        if ahead_s > MAX_AHEAD_S:
            text = f"expected audio at up to {self._max_speed:g} times real time"
            raise PeerError("too_fast", text, round(ahead_s - MAX_AHEAD_S / 2, 1))

    def check_numbers(self, samples: int, bad: int, rate: int) -> None:
        """Count samples of a client, of which so many are no numbers; AudioError for too many."""
        self._count += samples
        self._bad += bad
        if self._count < rate:
            return
        if self._bad > MAX_BAD_SHARE * self._count:
            raise AudioError(f"{self._bad} of {self._count} samples are no numbers")
        self._count = self._bad = 0
