"""What viewers see of a session of several channels."""

from websockets.asyncio.client import connect

from streamer import messages as m
from tests.edges.test_channels import CALL, START, STOP, interleaved, texts
from tests.fakes import speak
from tests.serving import finals, in_loop, said, service


@in_loop
async def test_viewers_follow_a_channel_or_all() -> None:
    async with service() as running, connect(running.url) as socket:
        await socket.send(START)
        ready = m.decode_server(await socket.recv(decode=True))
        assert isinstance(ready, m.Ready)
        captions = f"ws://127.0.0.1:{running.server.port}/v1/captions?session="
        async with (
            connect(f"{captions}{ready.session}.1") as one,
            connect(captions + ready.session) as whole,
            connect(f"{captions}latest") as newest,
        ):
            for viewer, session in ((one, f"{ready.session}.1"), (whole, ready.session)):
                assert f'"{session}"' in await viewer.recv(decode=True)
            for each in (CALL, STOP):
                await socket.send(each)
            heard, _ = await said(socket)
            seen, code = await said(one)
            assert (finals(seen), code) == (["which lamp is it", "so"], 1000)
            seen, code = await said(whole)
            assert (texts(seen), code) == (texts(heard), 1000)
            assert seen[-1] == heard[-1]
            same = m.decode_server(await newest.recv(decode=True))
            assert isinstance(same, m.Ready)
            assert same.session == ready.session


@in_loop
async def test_who_comes_later_sees_what_each_channel_has_said() -> None:
    async with service() as running, connect(running.url) as socket:
        await socket.send(START)
        ready = m.decode_server(await socket.recv(decode=True))
        assert isinstance(ready, m.Ready)
        await socket.send(interleaved(speak("turn on the"), speak("which lamp")))
        await socket.send(m.encode(m.Flush("a")))
        await socket.send(interleaved(speak("tv so it is"), speak("no not it")))
        spoken: set[int | None] = set()
        flushed = False
        while spoken != {0, 1}:
            message = m.decode_server(await socket.recv(decode=True))
            flushed = flushed or isinstance(message, m.Flushed)
            if flushed and isinstance(message, m.Partial):
                spoken.add(message.channel)
        captions = f"ws://127.0.0.1:{running.server.port}/v1/captions?session={ready.session}"
        async with connect(captions) as viewer:
            seen = [m.decode_server(await viewer.recv(decode=True)) for _ in range(5)]
        assert texts(seen) == [["turn on the"], ["which lamp"]]
        assert {each.channel for each in seen if isinstance(each, m.Partial)} == {0, 1}
