"""A batch of sessions on its way to the device thread and back.

Owns what goes along beside the windows, and who gets the verdicts that come. Must not know: which
sessions go, tasks.
"""

from collections.abc import Iterable, Sequence

from streamer.core.recognizer import Model
from streamer.engine.session import Session
from streamer.engine.step import Outcome, step


class Trip:
    """So many windows of each session in `batch`; of these and `listening` what is unheard."""

    def __init__(
        self,
        resets: Sequence[int],
        batch: Sequence[Session],
        counts: Sequence[int],
        listening: Iterable[Session],
        *,
        searched: bool,
    ) -> None:
        self.batch = batch
        self._heard, unheard = list[Session](), {}
        for session in dict.fromkeys((*batch, *listening)):
            samples = session.take_unheard()
            if samples is not None:
                self._heard.append(session)
                unheard[session.slot] = samples
        windows = [each.take_windows(most) for each, most in zip(batch, counts, strict=True)]
        self.windows = sum(map(len, windows))
        decoders = [session.decode for session in batch] if searched else []
        self._work = resets, [each.slot for each in batch], windows, decoders, unheard

    def run(self, model: Model) -> Outcome:
        """There and back, in the device thread."""
        return step(model, *self._work)

    def hand_verdicts(self, outcome: Outcome) -> None:
        """To every session that is not over; before its frames."""
        for session, verdict in zip(self._heard, outcome.verdicts, strict=True):
            session.accept_verdict(verdict)
