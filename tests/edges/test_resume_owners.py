"""Sessions that wait for a resume: whose they are, how many each may have, and who gets them."""

import asyncio
import json
from pathlib import Path
from typing import cast

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from streamer import messages as m
from streamer.config import ServerConfig
from tests.edges.test_resume import (
    HALF,
    LAMP,
    START,
    STOP,
    begun,
    cut,
    open_sessions,
    resume,
    resumed,
)
from tests.http import ask
from tests.serving import Service, finals, in_loop, said, service

ANN, BOB = "the-token-of-ann-only", "the-token-of-bob-only"


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text(f"{ANN} ann speak\n{BOB} bob speak\n")
    return str(path)


async def waiting_sessions(running: Service, expected: int) -> None:
    """Until so many are left without a connection, and no more websockets are open."""
    await open_sessions(running, expected)
    while running.server.sockets_inside:  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0.01)


async def of(
    running: Service, token: str, first: str = START
) -> tuple[ClientConnection, m.ServerMessage]:
    """A connection of who has this token, and the answer to its first message."""
    socket = await connect(running.url, additional_headers={"Authorization": f"Bearer {token}"})
    await socket.send(first)
    return socket, m.decode_server(await socket.recv(decode=True))


@in_loop
async def test_sessions_that_wait_count_as_their_tokens(token_file: str) -> None:
    """Who opens and drops, opens and drops, meets the limit; others do not notice."""
    async with service(ServerConfig(port=0, token_file=token_file, max_per_token=3)) as running:
        left: list[m.Ready] = []
        while True:
            socket, answer = await of(running, ANN)
            if isinstance(answer, m.Error):
                break
            await cut(socket)
            left.append(cast("m.Ready", answer))
            await waiting_sessions(running, len(left))
        assert (answer.code, answer.retryable, answer.resume) == ("quota", True, False)
        assert answer.retry_after_s
        assert "wait for a resume" in answer.message
        await socket.wait_closed()
        assert (len(left), socket.close_code) == (3, 4413)
        socket, answer = await of(running, BOB)
        assert isinstance(answer, m.Ready)
        await socket.close()
        for ready in left:  # her own are free
            socket, answer = await of(running, ANN, resume(ready))
            assert isinstance(answer, m.Resumed)
            await socket.close()
        await waiting_sessions(running, 0)
        assert isinstance((await of(running, ANN))[1], m.Ready)


@in_loop
async def test_sessions_that_wait_count_as_their_addresses() -> None:
    config = ServerConfig(port=0, max_per_address=2, trusted_proxies=("127.0.0.1",))
    async with service(config) as running:

        async def begin(address: str) -> m.ServerMessage:
            headers = {"X-Forwarded-For": address}
            async with connect(running.url, additional_headers=headers) as socket:
                await socket.send(START)
                answer = m.decode_server(await socket.recv(decode=True))
                await cut(socket)
            return answer

        for count in (1, 2):
            assert isinstance(await begin("2001:db8::1"), m.Ready)
            await waiting_sessions(running, count)
        refused = await begin("2001:db8::2")  # the same customer
        assert isinstance(refused, m.Error)
        assert "this address" in refused.message
        assert isinstance(await begin("2001:db8:1::1"), m.Ready)


@in_loop
async def test_who_leaves_most_behind_loses_it_first(token_file: str) -> None:
    config = ServerConfig(port=0, token_file=token_file, max_detached=3)
    async with service(config) as running:
        (socket, kept) = await of(running, BOB)
        await cut(socket)
        left: list[m.ServerMessage] = []
        for count in (2, 3, 3, 3):
            socket, answer = await of(running, ANN)
            left.append(answer)
            await cut(socket)
            await waiting_sessions(running, count)
        assert isinstance((await of(running, BOB, resume(cast("m.Ready", kept))))[1], m.Resumed)
        answers = [(await of(running, ANN, resume(cast("m.Ready", each))))[1] for each in left]
        assert [type(each) for each in answers] == [m.Error, m.Error, m.Resumed, m.Resumed]


@in_loop
async def test_who_will_not_come_back_pushes_nobody_out() -> None:
    async with service(ServerConfig(port=0, max_detached=1)) as running:
        socket, ready = await begun(running)
        await cut(socket)
        await waiting_sessions(running, 1)
        for _ in range(3):
            socket, _ = await begun(running, m.encode(m.Start()))
            await cut(socket)
            await open_sessions(running, 1)
        await resumed(running, ready)


@in_loop
async def test_a_session_is_resumed_by_whose_it_is_with_token_or_ticket(token_file: str) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:

        async def ticket(token: str) -> str:
            header = f"Authorization: Bearer {token}"
            _, _, body = await ask(running.server.port, "POST", "/v1/ticket?scope=speak", header)
            return json.loads(body)["ticket"]

        async def by_ticket(token: str, first: str) -> tuple[ClientConnection, m.ServerMessage]:
            offered = [
                Subprotocol(each) for each in ("streamer.v1", f"ticket.{await ticket(token)}")
            ]
            socket = await connect(running.url, subprotocols=offered)
            await socket.send(first)
            return socket, m.decode_server(await socket.recv(decode=True))

        socket, answer = await by_ticket(ANN, START)
        ready = cast("m.Ready", answer)
        await socket.send(LAMP[:HALF])
        await cut(socket)
        thefts = [of(running, BOB, resume(ready)), by_ticket(BOB, resume(ready))]
        for stealing in thefts:  # with all that the session's owner has but her token
            socket, answer = await stealing
            assert isinstance(answer, m.Error)
            await socket.wait_closed()
            assert (answer.code, socket.close_code) == ("no_session", 4404)
        socket, answer = await of(running, ANN, resume(ready))  # a ticket's session, by token
        assert isinstance(answer, m.Resumed)
        await cut(socket)
        socket, answer = await by_ticket(ANN, resume(ready))  # and by another ticket
        assert isinstance(answer, m.Resumed)
        await socket.send(LAMP[answer.audio_bytes :])
        await socket.send(STOP)
        heard, code = await said(socket)
    assert (finals(heard), code) == (["turn on the lamp"], 1000)
