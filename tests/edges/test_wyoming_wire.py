"""Wyoming's framing: any bytes, and what its own library makes of ours."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from wyoming.event import async_read_event

from streamer.edges.wyoming.framing import MAX_LINE_BYTES, Event, FrameError, encoded, read


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_an_event_or_a_frame_error(data: bytes, cut: int) -> None:
    async def scenario() -> None:
        valid = encoded(Event("audio-chunk", {"rate": 1}, bytes(32)))
        reader = reader_of(valid[:cut] + data)
        try:
            while await read(reader) is not None:
                pass
        except (FrameError, asyncio.IncompleteReadError):
            pass

    asyncio.run(scenario())


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers()), st.binary(max_size=99))
def test_the_library_reads_what_we_write(data: dict[str, Any], payload: bytes) -> None:
    async def scenario() -> None:
        event = await async_read_event(reader_of(encoded(Event("kind", data, payload))))
        assert event is not None
        assert (event.type, event.data, event.payload or b"") == ("kind", data, payload)

    asyncio.run(scenario())
