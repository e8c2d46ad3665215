"""The append-only view of a session: text that only ever grows, for readers that concatenate.

Must not know: sessions, connections.
"""

from streamer.core.hypothesis import Event, Final, Partial


class GrowingText:
    """What an utterance's committed text and then its final add to all the text before.

    A space parts words and utterances, at the beginning of what is added. Nothing that was given
    is ever taken back: the tail is not in it, nor is the written form of a final.
    """

    def __init__(self) -> None:
        self._given = 0  # characters of the utterance in progress
        self._is_begun = False  # something was given before this utterance

    def added(self, event: Event) -> str:
        """What the event adds; "" for most."""
        if isinstance(event, Partial):
            return self._grown(event.committed)
        if isinstance(event, Final):
            added = self._grown(event.text)
            self._is_begun = self._is_begun or self._given > 0
            self._given = 0
            return added
        return ""

    def _grown(self, text: str) -> str:
        added = text[self._given :]
        if added and not self._given and self._is_begun:
            added = f" {added}"
        self._given = len(text)
        return added
