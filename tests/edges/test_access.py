"""Who gets in: tokens, tickets and limits behind a real port, asked as attackers would."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamer import messages as m
from streamer.config import ServerConfig
from tests.fakes import speak
from tests.http import HANDSHAKE, ask, get, knock
from tests.serving import Service, finals, in_loop, pcm, said, service

START, STOP = m.encode(m.Start()), m.encode(m.Stop())
LAMP = pcm(speak("turn on the lamp"))
FULL, SPEAK, VIEW, METRICS = (f"the-token-for-{name}-only" for name in ("all", "sp", "vi", "me"))
ELSEWHERE = "X-Forwarded-For: 203.0.113.7"


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text(
        f"{FULL} all\n{SPEAK} phones speak\n{VIEW} hall view\n{METRICS} prometheus metrics\n"
    )
    return str(path)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


async def ticket(running: Service, token: str = FULL) -> str:
    status, headers, body = await ask(running.server.port, "POST", "/v1/ticket", bearer(token))
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    return json.loads(body)["ticket"]


def offering(ticket: str) -> str:
    return f"Sec-WebSocket-Protocol: streamer.v1, ticket.{ticket}"


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/v1/stream", FULL, 101),
        ("/v1/stream", SPEAK, 101),
        ("/v1/stream", VIEW, 403),
        ("/v1/stream", METRICS, 403),
        ("/v1/captions?session=x", FULL, 101),
        ("/v1/captions?session=x", VIEW, 101),
        ("/v1/captions?session=x", SPEAK, 403),
        ("/v1/captions?session=latest", VIEW, 101),
        ("/v1/stream", FULL[:-1], 401),
        ("/v1/stream", FULL + "x", 401),
        ("/v1/stream", FULL.upper(), 401),
        ("/v1/stream", "", 401),
        ("/v1/captions?session=x", "wrong", 401),
    ],
)
@in_loop
async def test_what_a_token_is_good_for(
    path: str, token: str, status: int, token_file: str
) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        assert await knock(running.server.port, path, bearer(token)) == status


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Authorization: Basic " + FULL,),
        ("Authorization: " + FULL,),
        ("Authorization: Bearer",),
        (bearer(FULL), bearer(FULL)),
        (bearer("wrong"), bearer(FULL)),
        ("Cookie: token=" + FULL,),
        ("Sec-WebSocket-Protocol: " + FULL,),
        ("Sec-WebSocket-Protocol: ticket." + FULL,),
    ],
)
@in_loop
async def test_no_other_way_in_with_one_answer_for_all(
    headers: tuple[str, ...], token_file: str
) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        port = running.server.port
        for path in ("/v1/stream", f"/v1/stream?token={FULL}", "/v1/captions?session=latest"):
            status, fields, body = await ask(port, "GET", path, *HANDSHAKE, *headers)
            assert (status, body) == (401, b"a valid token is needed\n")
            assert fields["WWW-Authenticate"] == "Bearer"
        assert (await ask(port, "POST", "/v1/ticket", *headers))[0] == 401
        assert (await get(port, "/"))[0] == 200  # the page that asks for it


@in_loop
async def test_a_token_does_not_open_other_doors(token_file: str) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        port = running.server.port
        right = bearer(FULL)
        assert await knock(port, "/v1/stream", right, "Origin: https://evil.example") == 403
        assert await knock(port, "/v1/stream", right, host="evil.example") == 421
        assert await knock(port, "/v1/nothing", right) == 404
        assert await knock(port, "/v1/ticket", right) == 404


# --- tickets --------------------------------------------------------------------------------------


@in_loop
async def test_a_browsers_way_in_works_once(token_file: str) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        port, offer = running.server.port, offering(await ticket(running))
        status, headers, _ = await ask(port, "GET", "/v1/stream", *HANDSHAKE, offer)
        assert (status, headers["Sec-WebSocket-Protocol"]) == (101, "streamer.v1")
        assert await knock(port, "/v1/stream", offer) == 401


@in_loop
async def test_of_many_who_race_with_one_ticket_one_gets_in(token_file: str) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        offer = offering(await ticket(running))
        racing = (knock(running.server.port, "/v1/stream", offer) for _ in range(20))
        assert sorted(await asyncio.gather(*racing)) == [101] + [401] * 19


@in_loop
async def test_a_ticket_is_for_what_its_token_is_for(token_file: str) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        port = running.server.port
        assert await knock(port, "/v1/stream", offering(await ticket(running, VIEW))) == 403
        offer = offering(await ticket(running, VIEW))
        assert await knock(port, "/v1/captions?session=x", offer) == 101
        two = f"{offering(await ticket(running))}, ticket.{await ticket(running)}"
        assert await knock(port, "/v1/stream", two) == 401


@in_loop
async def test_tickets_are_for_those_who_have_tokens(token_file: str) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        port = running.server.port
        own = offering(await ticket(running))
        assert (await ask(port, "POST", "/v1/ticket", own))[0] == 200  # one may be exchanged
        assert (await ask(port, "POST", "/v1/ticket", own))[0] == 401
        foreign = "Origin: https://evil.example"
        assert (await ask(port, "POST", "/v1/ticket", bearer(FULL), foreign))[0] == 403
        assert (await ask(port, "GET", "/v1/ticket", bearer(FULL)))[0] == 405
    async with service() as running:
        status, _, body = await ask(running.server.port, "POST", "/v1/ticket")
        assert (status, body) == (204, b"")  # nobody needs one


@in_loop
async def test_a_request_with_a_body_is_not_answered(token_file: str) -> None:
    """Nothing of it can be taken for a second request."""
    smuggled = "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        for field in (f"Content-Length: {len(smuggled)}", "Transfer-Encoding: chunked"):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
            head = (
                f"POST /v1/ticket HTTP/1.1\r\nHost: localhost\r\n{bearer(FULL)}\r\n{field}\r\n\r\n"
            )
            writer.write((head + smuggled).encode())
            assert await reader.read() == b""
            writer.close()


@in_loop
async def test_one_request_a_connection(token_file: str) -> None:
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        one = f"POST /v1/ticket HTTP/1.1\r\nHost: localhost\r\n{bearer(FULL)}\r\n\r\n"
        writer.write((one + one).encode())
        assert (await reader.read()).count(b"HTTP/1.1 ") <= 1
        writer.close()


# --- limits ---------------------------------------------------------------------------------------


@in_loop
async def test_guessing_is_slowed_down_by_address(token_file: str) -> None:
    proxied = ServerConfig(port=0, token_file=token_file, trusted_proxies=("127.0.0.1",))
    async with service(proxied) as running:
        port, wrong = running.server.port, bearer("wrong")
        guesses = [await ask(port, "POST", "/v1/ticket", wrong, ELSEWHERE) for _ in range(7)]
        assert [status for status, *_ in guesses] == [401] * 5 + [429] * 2
        assert 0 < int(guesses[-1][1]["Retry-After"]) <= 12
        assert await knock(port, "/v1/stream", bearer(FULL), ELSEWHERE) == 429
        forged = f"{ELSEWHERE}, 198.51.100.1"  # what a client says comes before its address
        assert await knock(port, "/v1/stream", bearer(FULL), forged) == 101


@in_loop
async def test_an_address_may_have_so_many(token_file: str) -> None:
    config = ServerConfig(port=0, max_per_address=1, trusted_proxies=("127.0.0.1",))
    async with service(config) as running:
        port = running.server.port
        async with connect(running.url, additional_headers={"X-Forwarded-For": "203.0.113.7"}):
            status, headers, body = await ask(port, "GET", "/v1/stream", *HANDSHAKE, ELSEWHERE)
            assert (status, body) == (429, b"too many connections of this address\n")
            assert headers["Retry-After"]
            assert await knock(port, "/v1/stream", "X-Forwarded-For: 203.0.113.8") == 101
            assert await knock(port, "/v1/stream") == 101  # this machine
        while await knock(port, "/v1/stream", ELSEWHERE) != 101:  # until it has noticed
            pass


@in_loop
async def test_a_token_may_have_so_many_and_others_do_not_notice(token_file: str) -> None:
    config = ServerConfig(port=0, max_per_token=2, token_file=token_file)
    async with service(config) as running:
        headers = {"Authorization": f"Bearer {SPEAK}"}
        async with (
            connect(running.url, additional_headers=headers),
            connect(running.url, additional_headers=headers),
        ):
            with pytest.raises(InvalidStatus) as refused:
                await connect(running.url, additional_headers=headers)
            assert refused.value.response.status_code == 429
            others = {"Authorization": f"Bearer {FULL}"}
            async with connect(running.url, additional_headers=others) as socket:
                for each in (START, LAMP, STOP):
                    await socket.send(each)
                heard, code = await said(socket)
    assert (finals(heard), code) == (["turn on the lamp"], 1000)


@in_loop
async def test_new_connections_have_a_pace(token_file: str) -> None:
    config = ServerConfig(port=0, max_new_per_minute=3, token_file=token_file)
    async with service(config) as running:
        port = running.server.port
        statuses = [await knock(port, "/v1/stream", bearer(FULL)) for _ in range(5)]
        assert statuses == [101] * 3 + [429] * 2
        assert (await ask(port, "POST", "/v1/ticket", bearer(FULL)))[0] == 429
        assert await knock(port, "/v1/stream", bearer(SPEAK)) == 101


@in_loop
async def test_a_proxy_that_is_not_trusted_changes_no_address(token_file: str) -> None:
    async with (
        service(ServerConfig(port=0, max_per_address=1)) as running,
        connect(running.url, additional_headers={"X-Forwarded-For": "203.0.113.7"}),
    ):
        assert await knock(running.server.port, "/v1/stream", ELSEWHERE) == 101


# --- secrets --------------------------------------------------------------------------------------


@in_loop
async def test_no_token_or_ticket_is_in_a_log(
    token_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with service(ServerConfig(port=0, token_file=token_file)) as running:
        port, given = running.server.port, await ticket(running)
        for header in (bearer(FULL), bearer("wrong-canary"), offering(given), offering(given)):
            await knock(port, f"/v1/stream?token={FULL}", header)
    ours = [each.getMessage() for each in caplog.records if each.name.startswith("streamer")]
    assert ours
    for secret in (FULL, given, "wrong-canary"):
        assert not any(secret in each for each in ours)
