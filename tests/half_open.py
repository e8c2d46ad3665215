"""A program, run in a network of its own: the link goes down under a session and comes back.

Prints what the server noticed after how many seconds, and what was heard, as JSON.
"""

import asyncio
import json
import subprocess

from clients.python import Recognition
from streamer import messages as m
from streamer.config import ServerConfig
from tests.fakes import speak
from tests.serving import Service, finals, in_loop, pcm, service

TALK = pcm(speak("turn on the lamp in the hall"))


def link(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


async def noticed_after_s(running: Service) -> float:
    begun_at = asyncio.get_running_loop().time()
    while running.server.sockets_inside:  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0.01)
    return asyncio.get_running_loop().time() - begun_at


@in_loop
async def main() -> None:
    link("up")
    async with service(ServerConfig(port=0)) as running, Recognition(running.url) as stream:
        await stream.send(TALK[: len(TALK) // 2])
        heard: list[m.ServerMessage] = []
        messages = aiter(stream)
        while not heard or not isinstance(heard[-1], m.Ack):
            heard.append(await anext(messages))
        link("down")
        after_s = await noticed_after_s(running)
        kept = running.engine.open_sessions
        link("up")
        await stream.send(TALK[len(TALK) // 2 :])
        await stream.stop()
        heard += [message async for message in messages]
    print(json.dumps({"after_s": after_s, "kept": kept, "finals": finals(heard)}))


if __name__ == "__main__":
    main()
