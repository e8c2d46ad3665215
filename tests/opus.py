"""Opus in its containers, made by PyAV."""

import io
from typing import Literal

import av
import numpy as np

FORMATS = {"ogg_opus": "ogg", "webm_opus": "webm"}


def recorded(samples: np.ndarray, encoding: Literal["ogg_opus", "webm_opus"]) -> bytes:
    """What a browser would send for these samples (S,) at 16 kHz."""
    file = io.BytesIO()
    with av.open(file, "w", format=FORMATS[encoding]) as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        pcm = (samples * 32767).astype("<i2")[None]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm), format="s16", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(stream.format, "mono", 48_000, frame_size=960)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()
