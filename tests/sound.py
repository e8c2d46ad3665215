"""A real sound server whose microphone hears what the test plays."""

import os
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

SINK, SOURCE = "vmic", "mic"
MODULES = (
    "module-native-protocol-unix",
    # Without norewinds the sink works in blocks of up to 2 s.
    f"module-null-sink sink_name={SINK} rate=16000 channels=1 format=s16le norewinds=1",
    f"module-remap-source master={SINK}.monitor source_name={SOURCE}",
)
ALSA_TO_PULSE = """</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description "PulseAudio" } }
ctl.!default { type pulse }
"""


@contextmanager
def sound_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run PulseAudio with a null sink as microphone; gives the environment that leads to it."""
    (folder / "runtime").mkdir(mode=0o700, exist_ok=True)
    (folder / "asound.conf").write_text(ALSA_TO_PULSE)
    env = {
        "XDG_RUNTIME_DIR": str(folder / "runtime"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PULSE_RUNTIME_PATH": str(folder / "runtime"),
        "PULSE_STATE_PATH": str(folder / "state"),
        "PULSE_COOKIE": str(folder / "cookie"),
        "PULSE_SOURCE": SOURCE,
        "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
    }
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit"]
    command += ["--log-level=info", "--log-target=stderr"]
    command += [part for module in MODULES for part in ("-L", module)]
    with subprocess.Popen(
        command, env=os.environ | env, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        log = []
        for line in server.stderr:
            log.append(line)
            if "Daemon startup complete" in line:
                break
        else:
            raise AssertionError("pulseaudio did not start: " + "".join(log))
        draining = threading.Thread(target=deque, args=(server.stderr, 0), name="sound server log")
        draining.start()
        try:
            yield env
        finally:
            server.terminate()
            server.wait()
            draining.join()


def play(samples: np.ndarray, folder: Path, env: dict[str, str]) -> None:
    """Speak into the microphone; returns when all is played, which takes as long as it sounds."""
    soundfile.write(folder / "play.wav", samples, 16_000, subtype="PCM_16")
    subprocess.run(
        ["paplay", f"--device={SINK}", folder / "play.wav"], env=os.environ | env, check=True
    )
