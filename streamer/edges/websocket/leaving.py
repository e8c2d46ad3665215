"""How a session is brought to its end by the server: announced, then at the end of an utterance.

Owns the words of the announcement and when it is time to leave. Must not know: sockets, what makes
the server end a session.
"""

from dataclasses import dataclass

from streamer import messages
from streamer.audio import SAMPLE_RATE
from streamer.edges.websocket.conversation import Conversation
from streamer.edges.websocket.peer import ENDINGS

IDLE_S = 1.0  # a client that sends nothing for so long has no more to say
NOTICE_S = 60.0  # before a session has lasted too long
RETRY_S = 2.0  # until a server that ends has an heir, perhaps
SAMPLES = SAMPLE_RATE // 2  # a word that has begun is known when these are decoded
WORDLESS_SAMPLES = 2 * SAMPLE_RATE  # a detector may hear speech, as of others, that has no words
REASONS = {
    "restart": "the server ends: start another session when it is back",
    "too_long": "the session has lasted as long as it may: start another",
}


@dataclass(frozen=True, slots=True)
class Leaving:
    """The end of a session; `reason` is one of REASONS."""

    reason: str
    until: float  # loop time by which it comes, whatever is being said
    from_samples: int  # before it comes, so many samples must have been decoded

    @property
    def close_code(self) -> int:
        """Of the connection that has the session."""
        return ENDINGS[self.reason].close_code

    def is_due(self, conversation: Conversation, now: float) -> bool:
        """Whether an utterance is over, or what is left of it must be cut off.

        While a window waits to be decoded nobody knows: a word may have begun in it. Speech that
        has no words for WORDLESS_SAMPLES more is not waited for.
        """
        if now >= self.until:
            return True
        session = conversation.session
        if not conversation.is_speaking:
            return session.are_decoded(self.from_samples)
        is_wordless = not conversation.has_words
        return is_wordless and session.are_decoded(self.from_samples + WORDLESS_SAMPLES)

    def announcement(self, now: float) -> messages.GoAway:
        """What the client is told."""
        ending, left_s = ENDINGS[self.reason], max(0.0, self.until - now)
        pause_s = RETRY_S if self.reason == "restart" else None
        text, can_retry = REASONS[self.reason], ending.retryable
        return messages.GoAway(self.reason, text, left_s, can_retry, ending.resumable, pause_s)


def notice_s(max_session_s: float) -> float:
    """How long before its end a session is told of it."""
    return min(NOTICE_S, max_session_s / 2)
