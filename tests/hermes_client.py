"""Rhasspy's own client at a broker, moved by lines of JSON; runs with the Python of tests.peers.

`hermes_client.py PORT` reads {"publish": TYPE, "fields": {…}, "topic": {…}} or {"speak": WAV,
"site": …, "session": …}, and writes each message of the recognizer as a line.
"""

import asyncio
import base64
import dataclasses
import json
import sys

import paho.mqtt.client as mqtt
from rhasspyhermes import asr
from rhasspyhermes.audioserver import AudioFrame, AudioSessionFrame
from rhasspyhermes.client import HermesClient

HEARD = (
    asr.AsrTextCaptured,
    asr.AsrRecordingFinished,
    asr.AsrAudioCaptured,
    asr.AsrError,
    asr.AsrTrainSuccess,
)


class House(HermesClient):
    async def on_message_blocking(self, message, site_id=None, session_id=None, topic=None):
        fields = dataclasses.asdict(message)
        if "wav_bytes" in fields:
            fields["wav_bytes"] = base64.b64encode(fields["wav_bytes"]).decode()
        said = {"site_id": site_id, "session_id": session_id, **fields}
        print(json.dumps({"type": type(message).__name__, **said}), flush=True)
        yield None

    def obey(self) -> None:
        for line in sys.stdin:
            told = json.loads(line)
            if "speak" in told:
                self.speak(told["speak"], told["site"], told["session"])
            else:
                message = getattr(asr, told["publish"])(**told["fields"])
                self.publish(message, **told["topic"])

    def speak(self, path: str, site: str, session: str | None) -> None:
        kind = AudioFrame if session is None else AudioSessionFrame
        place = {"site_id": site} if session is None else {"site_id": site, "session_id": session}
        with open(path, "rb") as file:
            for chunk in AudioFrame.iter_wav_chunked(file, frames_per_chunk=1024):
                self.publish(kind(wav_bytes=chunk), **place)


async def main(port: str) -> None:
    client = mqtt.Client()
    house = House("house", client, loop=asyncio.get_running_loop())
    house.subscribe(*HEARD)
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    await house.mqtt_connected_event.wait()
    hearing = asyncio.create_task(house.handle_messages_async())
    await asyncio.get_running_loop().run_in_executor(None, house.obey)
    hearing.cancel()
    client.loop_stop()


asyncio.run(main(sys.argv[1]))
