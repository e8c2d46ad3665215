"""Models that watch or hold the engine, and clients that play scripts against it."""

import asyncio
import threading

import numpy as np

from streamer.core.context import Context
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Partial
from streamer.core.recognizer import Recognizer
from tests.fakes import FakeModel, silence, speak

CHUNK = Context(0, 4, 0)
POISON = 40  # a token on which `FragileModel` fails


class SlotModel(FakeModel):
    """Knows which stream position each slot is at, and fails on windows out of order."""

    def __init__(self, context=CHUNK, slots=8, most_windows=1):
        super().__init__(context=context, slots=slots)
        self.most_windows = most_windows
        self.next_sample = [-1] * slots  # -1: never reset
        self.batches = []

    def run(self, slots, windows):
        self.batches.append(list(slots))
        frames = super().run(slots, windows)
        next_sample = dict(enumerate(self.next_sample))
        for slot, window in zip(slots, windows, strict=True):
            last = next_sample[slot]
            assert last - self.grid.hop_samples < window.start_sample <= last, (slot, last)
            next_sample[slot] = window.start_sample + self.grid.samples(window.chunk)
        self.next_sample = list(next_sample.values())
        return frames

    def reset(self, slots):
        for slot in slots:
            self.next_sample[slot] = 0


class GatedModel(SlotModel):
    """Every step waits until the test lets it go."""

    def __init__(self, **model):
        super().__init__(**model)
        self.entered, self.gate = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, slots, windows):
        self.entered.release()
        self.gate.acquire()
        return super().run(slots, windows)

    def open_for_good(self):
        self.gate.release(1_000_000)

    async def is_running(self):
        await asyncio.to_thread(self.entered.acquire)


class FragileModel(SlotModel):
    """Raises on a poisoned window, or answers it with NaN."""

    def __init__(self, answer, **model):
        super().__init__(**model)
        self.answer = answer

    def run(self, slots, windows):
        bad = [(w.samples == np.float32(POISON / 64)).any() for w in windows]
        if any(bad) and self.answer == "raise":
            raise RuntimeError("cannot digest this")
        frames = super().run(slots, windows)
        for answer, is_bad in zip(frames, bad, strict=True):
            if is_bad:
                answer.log_probs[:] = np.nan
        return frames


def run(coroutine):
    """Run to the end; a deadlock fails instead of hanging."""

    async def limited():
        async with asyncio.timeout(60):
            return await coroutine

    return asyncio.run(limited())


def random_script(rng):
    """What a client does: samples, flush ids, gaps."""
    script = []
    for _ in range(rng.randint(1, 12)):
        text = "".join(rng.choice("abc d") for _ in range(rng.randint(0, 12)))
        samples = np.concatenate([speak(text, rng.randint(1, 3)), silence(rng.random() * 1.5)])
        while len(samples):
            size = rng.choice([1, 160, 320, 5000, len(samples)])
            script.append(samples[:size])
            samples = samples[size:]
            if size == 1:
                break
        script += rng.choice([[], [], ["x"], [rng.randint(1, 20_000)]])
    return script


def reference(script, context=CHUNK, rules=EndpointRules()):  # noqa: B008
    recognizer = Recognizer(FakeModel(context=context), rules)
    for item in script:
        if isinstance(item, str):
            recognizer.stream.flush(item)
        elif isinstance(item, int):
            recognizer.stream.report_gap(item)
        else:
            recognizer.stream.accept_waveform(item)
    recognizer.stream.input_finished()
    return without_partials(recognizer.decode())


def without_partials(events):
    return [event for event in events if not isinstance(event, Partial)]


async def play(session, script, rng=None):
    """Send a script and read all events meanwhile."""

    async def send():
        for item in script:
            if isinstance(item, str):
                await session.flush(item)
            elif isinstance(item, int):
                session.report_gap(item)
            else:
                await session.send(item)
            for _ in range(rng.randint(0, 3) if rng else 0):
                await asyncio.sleep(0)
        await session.finish()

    async with session, asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        events = [event async for event in session]
    revisions = [event.revision for event in events if isinstance(event, Partial)]
    assert revisions == sorted(set(revisions))
    return without_partials(events)


def assert_nothing_leaks(engine):
    assert engine.open_sessions == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [t for t in threading.enumerate() if t.name.startswith("device")]
