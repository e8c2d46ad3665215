"""For every test: no verdict by the clock or by luck. A checkpoint and a recording for commands."""

import signal
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
from hypothesis import settings

from tests.fakes import BLANK, DELIMITER, LABELS

settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")
# A shell that runs the suite in its background has it ignore Ctrl-C, and its children with it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """A model this small is slower on many threads, and far slower on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint directory whose model babbles: random weights, no blank bias."""
    import torch

    from models import checkpoint
    from models.features import FeatureConfig
    from models.vocabulary import Vocabulary
    from models.wav2vec2_bert import EncoderConfig, Wav2Vec2BertForCTC

    torch.manual_seed(3)
    config = EncoderConfig(
        vocab_size=len(LABELS.tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_depthwise_kernel_size=7,
    )
    network = Wav2Vec2BertForCTC(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("model") / "babbler"
    vocabulary = Vocabulary(LABELS.tokens, BLANK, DELIMITER, frozenset())
    checkpoint.save(folder, network, FeatureConfig(normalization="running"), vocabulary)
    return str(folder)


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> str:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 3)
    path = tmp_path_factory.mktemp("audio") / "talk.flac"
    soundfile.write(path, noise * np.linspace(0, 1, len(noise)), 16_000)
    return str(path)
