"""Silero's network for voice activity at 16 kHz (MIT licence): how probable speech is in a frame.

The weights are the file that comes with the package silero-vad, `silero_vad_16k.safetensors`. The
package itself is not imported: that would set torch's number of threads for the whole process,
and its own loader runs the code of a TorchScript file. The layers are those of the package's model,
without a state of their own.

Owns the layers and the file's names. Must not know: streams, thresholds.

Shapes: N frame, S samples of a frame with its context, C = 128 channel.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

FRAME_SAMPLES, CONTEXT_SAMPLES = 512, 64
CHANNELS = 128
FFT_SAMPLES, HOP_SAMPLES, PADDING_SAMPLES = 256, 128, 64
BINS = FFT_SAMPLES // 2 + 1

State: TypeAlias = tuple[Tensor, Tensor]
"""Of the recurrent layer, each (1, B, C), zeros at the beginning."""


class VoiceActivity(nn.Module):
    """`features` of frames, each by itself; then the stream, in which frames follow each other."""

    def __init__(self) -> None:
        super().__init__()
        self.stft = nn.Conv1d(1, 2 * BINS, FFT_SAMPLES, HOP_SAMPLES, bias=False)
        self.layers = nn.ModuleList(
            nn.Conv1d(i, o, 3, stride, padding=1)
            for i, o, stride in ((BINS, 128, 1), (128, 64, 2), (64, 64, 2), (64, CHANNELS, 1))
        )
        self.recurrent = nn.LSTM(CHANNELS, CHANNELS)
        self.head = nn.Conv1d(CHANNELS, 1, 1)

    def features(self, samples_NS: Tensor) -> Tensor:
        """(N, C) of samples (N, context + frame); what is beyond [-1, 1] is cut off."""
        padded = F.pad(samples_NS.clamp(-1, 1), (0, PADDING_SAMPLES), mode="reflect")
        real, imaginary = self.stft(padded.unsqueeze(1)).split(BINS, dim=1)
        x: Tensor = (real.square() + imaginary.square()).sqrt()
        for layer in self.layers:
            x = layer(x).relu()
        return x.squeeze(-1)

    def forward(self, features: PackedSequence, state: State) -> tuple[PackedSequence, State]:
        """Probabilities, packed as the features of B streams are, and the state behind them."""
        hidden, state = self.recurrent(features, state)
        logits = self.head(hidden.data.relu().unsqueeze(-1)).flatten()
        return hidden._replace(data=logits.sigmoid()), state


def weights() -> Path | None:
    """The file with the weights, if the package is installed."""
    package = find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "data" / "silero_vad_16k.safetensors"


def load(path: Path) -> VoiceActivity:
    """The network with the weights of a file; ValueError for a file that has others, or none."""
    network = VoiceActivity()
    try:
        tensors = {_own_name(name): tensor for name, tensor in load_file(path).items()}
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} has not the weights of silero-vad 6") from error
    return network.eval().requires_grad_(False)


def _own_name(name: str) -> str:
    layer, _, what = name.partition(".")
    if layer.startswith("conv"):
        return f"layers.{int(layer.removeprefix('conv')) - 1}.{what}"
    if layer == "lstm_cell":
        return f"recurrent.{what}_l0"
    return {"stft_conv": "stft", "final_conv": "head"}.get(layer, layer) + f".{what}"
