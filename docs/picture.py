"""Draw what the recogniser does: a clip's waveform, and each hypothesis at the moment it is out.

    python docs/picture.py        writes docs/picture.svg from clients/demo.flac

Everything in the picture is measured: the events are the shipped model's, at the default preset.
"""

from html import escape
from pathlib import Path

import numpy as np
import soundfile

from streamer.api import build_model
from streamer.config import ModelConfig
from streamer.core.context import SAMPLE_RATE
from streamer.core.endpoint import EndpointRules
from streamer.core.hypothesis import Final, Partial
from streamer.core.recognizer import Recognizer

ROOT = Path(__file__).parents[1]
WIDTH, LEFT, TOP, WAVE, ROW = 1180, 20, 28, 90, 23
SECONDS = 6.9  # of audio in the picture
PACKET_SAMPLES = SAMPLE_RATE // 50
STYLE = """
text { font: 15px ui-monospace, Menlo, Consolas, monospace; fill: #1f2933 }
.label { font: 13px system-ui, sans-serif; fill: #52606d }
.wave { stroke: #3e7cb1; stroke-width: 1 }
.tail { fill: #9aa5b1 }
.final { fill: #1a7f5a; font-weight: 600 }
.tick { stroke: #cbd2d9; stroke-width: 1 }
"""


def timed_events(samples: np.ndarray) -> list[tuple[float, Partial | Final]]:
    """(seconds of audio received, event) of every partial and final."""
    model = build_model(ModelConfig())
    recognizer = Recognizer(model, EndpointRules(silence_s=0.8))
    model.reset([0])
    events: list[tuple[float, Partial | Final]] = []
    for start in range(0, len(samples), PACKET_SAMPLES):
        recognizer.stream.accept_waveform(samples[start : start + PACKET_SAMPLES])
        at_s = recognizer.stream.received_samples / SAMPLE_RATE
        events += [(at_s, e) for e in recognizer.decode() if isinstance(e, Partial | Final)]
    return events


def x_of(seconds: float) -> float:
    """Horizontal place of a time."""
    return LEFT + seconds / SECONDS * (WIDTH - 2 * LEFT)


def waveform(samples: np.ndarray) -> str:
    """One vertical stroke per pixel column, from the lowest to the highest sample in it."""
    columns = np.array_split(samples[: int(SECONDS * SAMPLE_RATE)], WIDTH - 2 * LEFT)
    middle, scale = TOP + WAVE / 2, WAVE / 2 / np.abs(samples).max()
    strokes = "".join(
        f"M{LEFT + i} {middle - column.max() * scale:.1f}V{middle - column.min() * scale + 1:.1f}"
        for i, column in enumerate(columns)
    )
    return f'<path class="wave" d="{strokes}"/>'


def axis(height: int) -> str:
    """Seconds, as light lines over the whole picture."""
    return "".join(
        f'<line class="tick" x1="{x_of(s):.0f}" x2="{x_of(s):.0f}" y1="{TOP}" y2="{height - 8}"/>'
        f'<text class="label" x="{x_of(s) + 3:.0f}" y="{TOP - 8}">{s} s</text>'
        for s in range(int(SECONDS) + 1)
    )


def caption(at_s: float, event: Partial | Final, y: float) -> str:
    """The text of an event, ending at the moment at which it is out."""
    if isinstance(event, Final):
        body = f'<tspan class="final">{escape(event.text)}</tspan>'
        times = " ".join(f"{word.word}@{word.start:.2f}" for word in event.words[:6])
        note = f'<text class="label" x="{LEFT}" y="{y + ROW}">final, with times: {times} …</text>'
        return f'<text x="{LEFT}" y="{y}">{body}</text>{note}'
    tail = f' <tspan class="tail">{escape(event.tail)}</tspan>' if event.tail else ""
    dot = f'<circle cx="{x_of(at_s):.0f}" cy="{y - 5}" r="3.5" fill="#3e7cb1"/>'
    return f'<text x="{LEFT}" y="{y}">{escape(event.committed)}{tail}</text>{dot}'


def main() -> None:
    """Write docs/picture.svg."""
    speech, rate = soundfile.read(ROOT / "clients" / "demo.flac", dtype="float32")
    assert rate == SAMPLE_RATE, rate
    samples = np.concatenate([speech, np.zeros(2 * SAMPLE_RATE, np.float32)])
    events = timed_events(samples)
    height = TOP + WAVE + 16 + ROW * (len(events) + 1)
    rows = [
        caption(at_s, event, TOP + WAVE + 30 + ROW * row)
        for row, (at_s, event) in enumerate(events)
    ]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
        f"<style>{STYLE}</style><rect width='100%' height='100%' fill='white'/>"
        f"{axis(height)}{waveform(samples)}{''.join(rows)}</svg>\n"
    )
    (ROOT / "docs" / "picture.svg").write_text(svg)


if __name__ == "__main__":
    main()
