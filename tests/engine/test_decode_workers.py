"""Decoding in processes of its own: what is said is the same, and what one of them does is its own.

Everything here must be known to another process: scorers are classes of this module.
"""

import asyncio
import contextlib
import os
import random
import select
import signal
from pathlib import Path

import numpy as np
import pytest

from streamer.config import ConfigError
from streamer.core.decoder import BeamSearch
from streamer.core.endpoint import DEFAULT_RULES, EndpointRules
from streamer.core.hypothesis import Partial
from streamer.core.keywords import Phrase
from streamer.core.options import DecodingOptions, Hotword
from streamer.core.scoring import NoScorer
from streamer.engine.engine import Engine
from streamer.engine.errors import SessionError
from tests.engine.harness import CHUNK, assert_nothing_leaks, run
from tests.fakes import SearchedModel, silence, speak

WORDS = ("turn", "on", "the", "lamp", "zebra", "it's")


class Liking(NoScorer):
    """Hotwords score more, whole or begun; one of them cannot be scored, one kills."""

    def __init__(self, options: DecodingOptions) -> None:
        self.liked = [each.text for each in options.hotwords]

    def word(self, state, word):
        return 9.0 * (word in self.liked), None

    def part(self, part):
        if "bad" in self.liked:
            raise RuntimeError("cannot score this")
        if "kill" in self.liked:
            os.kill(os.getpid(), signal.SIGKILL)
        return 9.0 * any(word.startswith(part) for word in self.liked)


class Unmovable(NoScorer):
    def __reduce__(self):
        return os._exit, (3,)


def model(slots=6, context=CHUNK):
    search = BeamSearch(10, Liking, takes_hotwords=True)
    return SearchedModel(context, slots=slots, doubt=0.45, search=search)


class Recording(Engine):
    """Keeps what became of every window, by slot: all events follow from these."""

    def __init__(self, workers=0, slots=6, most_windows=1, **wishes):
        limits = {"max_sessions": slots, "max_batch": 4, "decode_workers": workers}
        searched = model(slots)
        searched.most_windows = most_windows
        super().__init__(searched, **limits, **wishes)
        self.windows, self.most = [[] for _ in range(slots)], 0

    def decoded(self, session, results):
        self.windows[session.slot] += results
        self.most = max(self.most, len(results))
        super().decoded(session, results)

    @property
    def processes(self):
        return {worker._process.pid for worker in self._workers._workers}


def expecting(*words):
    return DecodingOptions(hotwords=tuple(Hotword(word) for word in words), n_best=3)


def decoders():
    """The processes for decoding of this process; other tests may have left it others."""
    parent = Path("/proc/self/task") / str(os.getpid()) / "children"
    commands = {int(each): Path("/proc", each, "cmdline") for each in parent.read_text().split()}
    return [each for each, path in commands.items() if b"decode_worker" in path.read_bytes()]


async def converse(session, seed):
    """A client's whole life by the seed: speech in random cuts, flushes, gaps, other settings."""
    rng = random.Random(seed)
    for _ in range(rng.randint(2, 5)):
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 3)))
        pause = silence(rng.choice([0.1, 0.7, 1.5]))
        samples = np.concatenate([speak(text, rng.randint(1, 3)), pause])
        while len(samples):
            size = rng.choice([160, 320, 5000, len(samples)])
            await session.send(samples[:size])
            samples = samples[size:]
        what = rng.randint(0, 3)
        if what == 0:
            await session.flush(f"{seed}")
        elif what == 1:
            session.report_gap(rng.randint(1, 20_000))
        elif what == 2:
            rules = EndpointRules(silence_s=rng.choice([0.3, 0.6]))
            session.configure(rules, expecting(*rng.sample(("uvso", "po", "zft"), 2)))
    await session.finish()


async def heard(session, seed):
    """Everything but partials: which of them a reader has depends on its pace."""
    async with session, asyncio.TaskGroup() as tasks:
        tasks.create_task(converse(session, seed))
        events = [event async for event in session]
    return [event for event in events if not isinstance(event, Partial)]


def test_what_is_said_is_the_same_with_any_number_of_processes():
    async def all_said(workers):
        async with Recording(workers, keywords=[Phrase("zebra", 0.1)]) as running:
            assert len(decoders()) == workers
            sessions = [
                running.open_session(DEFAULT_RULES, expecting("uvso") if i % 2 else None)
                for i in range(6)
            ]
            said = await asyncio.gather(*(heard(s, i) for i, s in enumerate(sessions)))
        assert_nothing_leaks(running)
        assert decoders() == []
        return said, running.windows

    none, one, two = (run(all_said(workers)) for workers in (0, 1, 2))
    assert one == two == none
    finals = [event for events in none[0] for event in events if hasattr(event, "alternatives")]
    assert len(finals) > 10
    assert any(event.alternatives and len(event.alternatives) == 3 for event in finals)
    assert any(type(event).__name__ == "Keyword" for events in none[0] for event in events)


def test_windows_that_go_through_the_model_together_are_decoded_each_by_itself():
    async def said(workers, most_windows):
        async with Recording(workers, 1, most_windows) as running:
            session = running.open_session()
            for _ in range(2):
                await session.send(speak("turn on the lamp "))
                session.configure(EndpointRules(), expecting("uvso"))
                await session.send(speak("turn on the lamp"))
                await session.flush()
            await session.finish()
            events = [event async for event in session if not isinstance(event, Partial)]
        assert running.most == most_windows
        return events, running.windows

    apart = run(said(0, 1))
    assert run(said(0, 4)) == apart
    assert run(said(1, 4)) == apart
    assert [event.text.split()[-1] for event in apart[0] if hasattr(event, "alternatives")]


def test_sessions_are_spread_and_stay_where_they_are():
    async def main():
        async with Recording(2) as running:
            sessions = [running.open_session() for _ in range(4)]
            for _ in range(3):
                for session in sessions:
                    await session.send(speak("abc "))
                for session in sessions:
                    await anext(session.events())
                spread.append([len(worker.streams) for worker in running._workers._workers])
            for session in sessions:
                await session.finish()

    spread = []
    run(main())
    assert spread == [[2, 2]] * 3


def test_a_decoder_that_fails_ends_its_session_only():
    async def main():
        async with Recording(1, slots=2) as running:
            fine, bad = running.open_session(), running.open_session(None, expecting("bad"))
            results = await asyncio.gather(heard(fine, 1), heard(bad, 1), return_exceptions=True)
            again = await heard(running.open_session(), 1)
        return results, again

    (fine, failure), again = run(main())
    assert fine == again
    errors = failure.exceptions if isinstance(failure, ExceptionGroup) else [failure]
    assert {each.code for each in errors} == {"engine"}
    assert "cannot score this" in str(errors[0].__cause__)


@pytest.mark.parametrize("during_a_chunk", [False, True])
def test_a_process_that_is_killed_is_replaced_and_takes_only_its_sessions_along(during_a_chunk):
    async def main():
        async with Recording(2, slots=2) as running:
            victim = running.open_session(None, expecting("kill") if during_a_chunk else None)
            await victim.send(speak("turn on "))
            first = running.processes
            if not during_a_chunk:
                await anext(victim.events())
                os.kill(running._workers._workers[0]._process.pid, signal.SIGKILL)
            survivor = heard(running.open_session(), 3)
            with pytest.raises(SessionError, match="process that decoded this session") as caught:
                async for _ in victim:
                    pass
            assert caught.value.code == "engine"
            said = [await survivor, *[await heard(running.open_session(), 3) for _ in range(2)]]
            assert len(first & running.processes) == 1
        assert_nothing_leaks(running)
        assert decoders() == []
        return said

    async def alone():
        async with Recording(0) as running:
            return await heard(running.open_session(), 3)

    assert run(main()) == [run(alone())] * 3


def test_a_session_begins_where_there_is_a_process(monkeypatch):
    """One that cannot be replaced has the fewest sessions, and must not get them all."""

    async def never():
        raise ConfigError("its language model is gone")

    def kill(process):
        ended.append(process.returncode)
        process.send_signal(signal.SIGKILL)

    async def main():
        async with Recording(2) as running:
            lost, _ = running._workers._workers
            monkeypatch.setattr(lost, "begin", never)
            monkeypatch.setattr(asyncio.subprocess.Process, "kill", kill)
            os.kill(lost._process.pid, signal.SIGKILL)
            while lost.is_ready:  # noqa: ASYNC110 (no event tells of it)
                await asyncio.sleep(0)
            return len([await heard(running.open_session(), 3) for _ in range(2)])

    ended = []
    assert run(main()) == 2
    assert ended[0] == -signal.SIGKILL  # killed before asyncio knew it would be a line in the log


def test_processes_that_cannot_begin_are_a_sentence():
    async def main():
        search = BeamSearch(10, Unmovable(), takes_hotwords=False)
        broken = SearchedModel(CHUNK, search=search)
        async with Engine(broken, max_sessions=1, max_batch=1, decode_workers=2):
            pass

    with pytest.raises(ConfigError, match="before it was ready: status 3"):
        run(main())
    assert decoders() == []


def test_what_lies_in_the_folder_that_a_server_is_started_in_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit(4)")
    monkeypatch.chdir(tmp_path)

    async def main():
        async with Recording(1) as running:
            return await heard(running.open_session(), 3)

    assert run(main())


def test_an_engine_that_is_left_by_an_error_leaves_no_process():
    async def main():
        async with Recording(2) as running:
            session = running.open_session()
            await session.send(speak("turn on the lamp " * 5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main())
    assert decoders() == []


def test_a_process_without_its_server_ends():
    """Killed, the server cannot end them: the end of their input does."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(read)

        async def main():
            async with Recording(1) as running:
                os.write(write, str(*running.processes).encode())
                os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    os.close(write)
    os.wait()
    pid = int(os.read(read, 100))
    with contextlib.suppress(ProcessLookupError):
        ended = os.pidfd_open(pid)
        assert select.select([ended], [], [], 60)[0]
        os.close(ended)
