"""`forward_chunk` equals one pass over everything, whatever the company and the cuts.

Streams of random length with random flushes take turns in the slots of one state, in batches of
random company, and stop when they like; the views reference (views.py) knows nothing of slots.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import SeamlessM4TFeatureExtractor

from models.features import stack
from models.mel import LogMel
from models.ring import Rows
from models.state import state_bytes
from models.wav2vec2_bert import Chunking
from tests.models.networks import POSITIONS, acoustic, hugging_face, network
from tests.models.views import encode, random_plan

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 2e-5
ADAPTER = {"add_adapter": True}
TWO_ADAPTERS = {
    "add_adapter": True,
    "num_adapter_layers": 2,
    "use_intermediate_ffn_before_adapter": True,
    "output_hidden_size": 24,
}


@dataclasses.dataclass
class Script:
    """What many streams encode: their steps, and the features that each step is given."""

    steps: list
    features: torch.Tensor  # (N, W, F), with garbage behind the valid frames
    chunking: Chunking

    def __post_init__(self):
        self.committed = torch.tensor([step.committed for step in self.steps])
        self.valid = torch.tensor([step.valid for step in self.steps])

    def streams(self):
        """For each stream the numbers of its steps, in order."""
        numbers = {}
        for number, step in enumerate(self.steps):
            numbers.setdefault(step.stream, []).append(number)
        return list(numbers.values())


def random_script(chunking, seed, streams=200, multiple=1, flushes=2):
    """The first eight streams outlive the ring; the others are short, and some are broken off."""
    rng = np.random.default_rng(seed)
    reach = chunking.left + 2 * (chunking.chunk + chunking.right)
    long = reach + rng.integers(1, chunking.chunk + 1, 8)
    short = 1 + rng.exponential(2.5 * chunking.chunk, streams - 8).astype(int)
    steps = []
    for stream, length in enumerate([*long, *short]):
        count = rng.integers(0, flushes + 1) if stream else 0
        frames = -(-int(length) // multiple) * multiple
        plan = random_plan(stream, frames, chunking.chunk, chunking.right, rng, count, multiple)
        steps += plan[: rng.integers(1, len(plan) + 1)] if stream % 4 == 3 else plan
    return Script(steps, random_features(steps, chunking, seed), chunking)


def random_features(steps, chunking, seed, size=20):
    generator = torch.Generator().manual_seed(seed)
    width = chunking.chunk + chunking.right
    stream, begin, valid = torch.tensor([[s.stream, s.begin, s.valid] for s in steps]).T[..., None]
    shape = (int(stream.max()) + 1, int(begin.max()) + width, size)
    audio = torch.randn(shape, generator=generator)
    index = torch.arange(width)
    garbage = 100 * torch.randn(len(steps), width, size, generator=generator)
    return torch.where((index < valid)[..., None], audio[stream, begin + index], garbage)


def run_in_slots(model, script, slots, seed):
    """All steps through `slots` slots: logits (N, U, V) and the state at the end."""
    rng = np.random.default_rng(seed)
    waiting, seats = script.streams(), [[] for _ in range(slots)]
    state = model.wav2vec2_bert.init_state(slots, script.chunking)
    answers = {}
    while waiting or any(seats):
        free = [slot for slot in range(slots) if not seats[slot]][: len(waiting)]
        for slot in free:
            seats[slot] = waiting.pop(0)
        state.reset(torch.tensor(free, dtype=torch.int64))
        taken = rng.permutation([slot for slot in range(slots) if seats[slot]])
        taken = taken[: rng.integers(1 + len(taken) // 2, len(taken) + 1)]
        numbers = [seats[slot].pop(0) for slot in taken]
        rows = Rows(torch.from_numpy(taken), script.committed[numbers], script.valid[numbers])
        logits, state = model.forward_chunk(script.features[numbers], rows, state, script.chunking)
        answers.update(zip(numbers, logits, strict=True))
    return torch.stack([answers[number] for number in range(len(script.steps))]), state


def deviation(model, script, logits, expected):
    """Largest difference at a valid output frame."""
    assert logits.shape == expected.shape
    stride = model.config.output_stride
    valid = torch.arange(logits.shape[1]) < -(-script.valid[:, None] // stride)
    return (logits - expected)[valid].abs().max().item()


# --- cache mode: geometry × position type ---


@pytest.mark.parametrize("right", [0, 4, 16])
@pytest.mark.parametrize("left", [32, 64, 256])
@pytest.mark.parametrize("chunk", [4, 8, 16, 32])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_slots_equal_the_reference(position, chunk, left, right):
    model = network(seed=1, position_embeddings_type=position)
    script = random_script(Chunking(left, chunk, right), seed=chunk + left + right)
    logits, _ = run_in_slots(model, script, slots=70, seed=2)
    expected = encode(model, script.features, script.steps, script.chunking)
    assert deviation(model, script, logits, expected) <= TOLERANCE


@pytest.mark.parametrize("adapter", [ADAPTER, TWO_ADAPTERS], ids=["one adapter", "two adapters"])
@pytest.mark.parametrize("right", [0, 4, 16])
@pytest.mark.parametrize(("chunk", "left"), [(4, 32), (8, 256), (16, 64), (32, 32)])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_slots_with_adapters_equal_the_reference(position, chunk, left, right, adapter):
    model = network(seed=3, position_embeddings_type=position, **adapter)
    chunking, stride = Chunking(left, chunk, right), model.config.output_stride
    script = random_script(chunking, seed=chunk + right, streams=100, multiple=stride)
    logits, _ = run_in_slots(model, script, slots=40, seed=4)
    expected = encode(model, script.features, script.steps, script.chunking)
    assert deviation(model, script, logits, expected) <= TOLERANCE


@pytest.mark.parametrize("adapter", [{}, ADAPTER, TWO_ADAPTERS], ids=["no", "one", "two"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_slots_equal_one_offline_pass_under_the_chunk_mask(position, adapter):
    """Without flushes; the last chunk may be partial, and odd behind an adapter."""
    model = network(seed=5, position_embeddings_type=position, **adapter)
    script = random_script(Chunking(32, 8), seed=6, flushes=0)
    logits, _ = run_in_slots(model, script, slots=70, seed=7)
    stride = model.config.output_stride
    for numbers in script.streams():
        counts = [script.steps[number].valid for number in numbers]
        rows = [script.features[n][:count] for n, count in zip(numbers, counts, strict=True)]
        whole = torch.cat(rows)[None]
        expected, frames = model(whole, torch.tensor([sum(counts)]), script.chunking)
        streamed = [
            logits[n][: -(-count // stride)] for n, count in zip(numbers, counts, strict=True)
        ]
        assert frames.item() == sum(map(len, streamed))
        assert (torch.cat(streamed) - expected[0]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_what_comes_first_equals_full_attention_over_it(position):
    """With nothing to the left, chunk and lookahead are an utterance for `transformers`."""
    reference = hugging_face(seed=8, position_embeddings_type=position)
    model = network(position_embeddings_type=position)
    model.load_state_dict(reference.state_dict(), strict=False)
    chunking = Chunking(32, 8, 4)
    features = torch.randn(3, 12, 20, generator=torch.Generator().manual_seed(9))
    rows = Rows(torch.tensor([4, 0, 2]), torch.tensor([8, 8, 5]), torch.tensor([12, 9, 5]))
    state = model.wav2vec2_bert.init_state(5, chunking)
    logits, _ = model.forward_chunk(features, rows, state, chunking)
    for row, count in enumerate([12, 9, 5]):
        expected = reference(features[row : row + 1, :count]).logits[0]
        assert (logits[row, :count] - expected).abs().max() <= 1e-4


# --- slots ---


def tensors(state):
    """All tensors of a state; the first axis is the slot."""
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state if isinstance(state, tuple) else vars_of(state)
    return [tensor for part in parts for tensor in tensors(part)]


def vars_of(state):
    return [getattr(state, field.name) for field in dataclasses.fields(state)]


def one_call(model, state, slots, seed, chunking):
    generator = torch.Generator().manual_seed(seed)
    width, count = chunking.chunk + chunking.right, len(slots)
    features = torch.randn(count, width, 20, generator=generator)
    frames = torch.full((count,), chunking.chunk)
    rows = Rows(torch.tensor(slots), frames, frames + chunking.right)
    return model.forward_chunk(features, rows, state, chunking)


@torch.inference_mode()
def test_other_slots_stay_as_they_are_bit_for_bit():
    model, chunking = network(seed=14, **TWO_ADAPTERS), Chunking(16, 8, 4)
    state = model.wav2vec2_bert.init_state(6, chunking)
    for seed in range(5):
        one_call(model, state, [0, 1, 2, 3, 4, 5], seed, chunking)
    before = [tensor.clone() for tensor in tensors(state)]
    one_call(model, state, [4, 1], 6, chunking)
    state.reset(torch.tensor([5]))
    for tensor, old in zip(tensors(state), before, strict=True):
        assert torch.equal(tensor[[0, 2, 3]], old[[0, 2, 3]])
        assert not torch.equal(tensor[[1]], old[[1]])


@torch.inference_mode()
def test_a_reset_slot_is_new_even_after_nan():
    model, chunking = network(seed=15, **ADAPTER), Chunking(16, 8, 4)
    state = model.wav2vec2_bert.init_state(2, chunking)
    bad = torch.full((1, 12, 20), torch.nan)
    rows = Rows(torch.tensor([1]), torch.tensor([8]), torch.tensor([12]))
    logits, state = model.forward_chunk(bad, rows, state, chunking)
    assert logits.isnan().all()
    state.reset(torch.tensor([False, True]))
    fresh = model.wav2vec2_bert.init_state(2, chunking)
    for tensor, new in zip(tensors(state), tensors(fresh), strict=True):
        assert torch.equal(tensor, new)
    logits, _ = one_call(model, state, [1], 0, chunking)
    expected, _ = one_call(model, fresh, [0], 0, chunking)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize(
    "place",
    [
        "features",
        "model.wav2vec2_bert.encoder.layers.1.conv_module",
        "model.wav2vec2_bert.encoder.layers.1.final_layer_norm",
        "model.wav2vec2_bert.adapter.layers.1.ffn",
        "model.lm_head",
    ],
)
@torch.inference_mode()
def test_a_call_that_raises_can_be_made_again(place):
    """As if nothing had happened, wherever in the network it stopped."""
    model = acoustic(seed=16, **TWO_ADAPTERS)
    samples = torch.randn(8, 2, 1280 * 3 + 240, generator=torch.Generator().manual_seed(17)) / 9
    slots, committed, valid = torch.tensor([[2, 0], [2, 2], [3, 3]])

    def run(fails_at):
        state = model.init_state(3, left=4, chunk=2, right=1, cached=True)
        for step, batch in enumerate(samples):
            if step == fails_at:
                name = place if place != "features" else "causal_features.log_mel"
                with failing(model.get_submodule(name)), pytest.raises(RuntimeError, match="once"):
                    model.forward_chunk(batch, slots, committed, valid, state)
            log_probs, state = model.forward_chunk(batch, slots, committed, valid, state)
            yield log_probs

    for faultless, repeated in zip(run(None), run(5), strict=True):
        assert torch.equal(faultless, repeated)


def failing(module):
    """While entered, a call of the module raises."""

    def fail(*_):
        raise RuntimeError("fails once")

    return module.register_forward_hook(fail)


# --- from waveforms ---


def waveform(samples, seed):
    rng = np.random.default_rng(seed)
    tone = np.sin(np.cumsum(rng.normal(0.3, 0.2, samples)))
    level = np.abs(np.sin(np.arange(samples) / 4000.0)) * 0.3
    return torch.from_numpy((tone * level).astype(np.float32))


def pad_to(samples, size):
    return torch.nn.functional.pad(samples, (0, size - len(samples)))


@pytest.mark.parametrize("normalization", ["running", "utterance", "global"])
@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["no adapter", "adapter"])
@torch.inference_mode()
def test_streamed_waveforms_equal_the_whole(normalization, adapter):
    model = acoustic(seed=18, **adapter)
    if normalization != "running":
        model = with_policy(model, normalization)
    hop, chunk, left = model.hop_samples, 6, 12
    rng = np.random.default_rng(19)
    lengths = rng.integers(1, hop * 70, 25).tolist()
    waves = [waveform(length, seed) for seed, length in enumerate(lengths)]
    totals = [-(-length // hop) for length in lengths]
    state = model.init_state(len(waves), left, chunk, right=0, cached=True)
    done, parts = [0] * len(waves), [[] for _ in waves]
    while pending := [row for row, total in enumerate(totals) if done[row] < total]:
        rows = rng.permutation(pending)[: rng.integers(1, len(pending) + 1)].tolist()
        batch = [waves[row][done[row] * hop :][: hop * chunk + 240] for row in rows]
        counts = [min(chunk, totals[row] - done[row]) for row in rows]
        log_probs, state = model.forward_chunk(
            torch.stack([pad_to(piece, hop * chunk + 240) for piece in batch]),
            torch.tensor(rows),
            torch.tensor(counts),
            torch.tensor(counts),
            state,
        )
        for row, frames, count in zip(rows, log_probs, counts, strict=True):
            parts[row].append(frames[:count])
            done[row] += count
    chunking = Chunking(left * model.stride, chunk * model.stride)
    for wave, total, streamed in zip(waves, totals, parts, strict=True):
        whole = pad_to(wave, total * hop + 240)[None]
        expected, frames = model(whole, torch.tensor([whole.shape[1]]), chunking)
        assert frames.item() == total
        assert (torch.cat(streamed) - expected[0]).abs().max() <= 1e-4


def with_policy(model, normalization):
    config = dataclasses.replace(
        model.features.config,
        normalization=normalization,
        mean=(3.0,) * 10,
        variance=(9.0,) * 10,
    )
    return type(model)("tiny", model.model, config, model.vocabulary).eval()


@torch.inference_mode()
def test_thirty_minutes_through_one_slot_neither_drift_nor_grow():
    """The last minute equals a pass over the last two; features run over all of it."""
    model = acoustic(seed=20, num_hidden_layers=1, hidden_size=16, intermediate_size=16)
    chunk, left, hop = 60, 30, 320
    minute = waveform(60 * 16_000, 21)
    level = torch.linspace(0.2, 1.0, 30)
    samples = pad_to((level[:, None] * minute).flatten(), 30 * 60 * 16_000 + 240)
    frames, ones = torch.tensor([chunk]), torch.tensor([1])
    state = model.init_state(2, left, chunk, right=0, cached=True)
    size, streamed = state_bytes(state), []
    for begin in range(0, 30 * 60 * 50, chunk):
        piece = samples[None, begin * hop : (begin + chunk) * hop + 240]
        log_probs, state = model.forward_chunk(piece, ones, frames, frames, state)
        streamed.append(log_probs[0])
    assert state_bytes(state) == size
    chunking, tail = Chunking(left, chunk), 2 * 60 * 50
    extract = model.causal_features
    minutes = [samples[None, m * 960_000 :][:, : 960_000 + 240] for m in range(30)]
    mel = torch.cat([extract.log_mel(minute) for minute in minutes], dim=1)
    features = stack(extract.normalize(mel, torch.tensor([mel.shape[1]]), chunk), 2)
    assert features.shape[1] == 30 * 60 * 50
    logits, _ = model.model(features[:, -tail:], torch.tensor([tail]), chunking)
    expected = logits[0].log_softmax(dim=-1)[tail // 2 :]
    assert (torch.cat(streamed)[-len(expected) :] - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("normalization", ["running", "utterance", "global"])
@torch.inference_mode()
def test_lookahead_from_waveforms_equals_the_reference(normalization):
    """Lookahead frames are normalised by what was committed and leave nothing behind."""
    model = with_policy(acoustic(seed=22), normalization)
    chunking, hop = Chunking(16, 8, 4), 320
    wave = waveform(hop * 100, 23)
    steps = random_plan(0, 100, 8, 4, np.random.default_rng(24))
    windows = [pad_to(wave[s.begin * hop :][: s.valid * hop + 240], 12 * hop + 240) for s in steps]
    state, zero = model.init_state(1, 16, 8, 4, cached=True), torch.tensor([0])
    answers = []
    for step, window in zip(steps, windows, strict=True):
        counts = torch.tensor([step.committed]), torch.tensor([step.valid])
        log_probs, state = model.forward_chunk(window[None], zero, *counts, state)
        answers.append(log_probs[0])
    features = normalised_by_hand(model.causal_features, windows, steps, [0] * len(steps))
    expected = encode(model.model, features, steps, chunking).log_softmax(dim=-1)
    for step, answer, frames in zip(steps, answers, expected, strict=True):
        assert (answer - frames)[: step.valid].abs().max() <= 1e-4


def normalised_by_hand(extract, windows, steps, lefts):
    """Features of each window, by the mean and variance of all that was committed by then."""
    config, heard, features = extract.config, [], []
    mean, variance = extract.prior_mean, extract.prior_variance
    for window, step, left in zip(windows, steps, lefts, strict=True):
        mel = LogMel(config.num_mel_bins)(window[None])[0]
        heard.append(mel[2 * left :][: 2 * step.committed])
        if config.normalization == "running":
            seen, prior = torch.cat(heard), config.prior_mel_frames
            weight = prior + len(seen)
            mean = (prior * extract.prior_mean + seen.sum(dim=0)) / weight
            second = prior * (extract.prior_variance + extract.prior_mean**2)
            variance = (second + seen.square().sum(dim=0)) / weight - mean**2
        features.append(stack(((mel - mean) / variance.sqrt())[None], 2)[0])
    return torch.stack(features)


# --- window mode ---


@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["no adapter", "adapter"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_frames_of_a_window_equal_transformers_on_its_samples(position, adapter):
    reference = hugging_face(seed=25, position_embeddings_type=position, **adapter)
    model = with_policy(acoustic(position_embeddings_type=position, **adapter), "utterance")
    model.model.load_state_dict(reference.state_dict(), strict=False)
    extract = SeamlessM4TFeatureExtractor(num_mel_bins=10)
    rng, hop, total = np.random.default_rng(26), model.hop_samples, 40 + 8 + 4
    lefts, chunks, rights = rng.integers(0, 41, 20), rng.integers(1, 9, 20), rng.integers(0, 5, 20)
    counts = lefts + chunks + rights
    pieces = [waveform(hop * int(count) + 240, seed) for seed, count in enumerate(counts)]
    state = model.init_state(20, 40, 8, 4, cached=False)
    log_probs, after = model.forward_window(
        torch.stack([pad_to(piece, hop * total + 240) for piece in pieces]),
        torch.from_numpy(rng.permutation(20)),
        *map(torch.from_numpy, (lefts, chunks, counts)),
        state,
    )
    assert after.encoder is None
    for piece, frames, count in zip(pieces, log_probs, counts, strict=True):
        inputs = extract(piece.numpy(), sampling_rate=16_000, return_tensors="pt")
        expected = reference(inputs.input_features).logits[0].log_softmax(dim=-1)
        assert len(expected) == count
        assert (frames[:count] - expected).abs().max() <= 1e-3


@torch.inference_mode()
def test_windows_are_normalised_by_all_chunks_so_far():
    """Under `running`, neither left context nor lookahead is counted, however often it is seen."""
    model, hop = acoustic(seed=27), 320
    wave = waveform(hop * 100, 28)
    steps = random_plan(0, 100, 8, 4, np.random.default_rng(29))
    lefts = [min(16, step.begin) for step in steps]
    windows = [
        pad_to(wave[(s.begin - left) * hop :][: (left + s.valid) * hop + 240], 28 * hop + 240)
        for s, left in zip(steps, lefts, strict=True)
    ]
    features = normalised_by_hand(model.features, windows, steps, lefts)
    state, zero = model.init_state(1, 16, 8, 4, cached=False), torch.tensor([0])
    for step, left, window, frames in zip(steps, lefts, windows, features, strict=True):
        counts = [torch.tensor([n]) for n in (left, step.committed, left + step.valid)]
        log_probs, state = model.forward_window(window[None], zero, *counts, state)
        logits, _ = model.model(frames[None], counts[-1])
        expected = logits.log_softmax(dim=-1)
        assert (log_probs - expected)[0, : left + step.valid].abs().max() <= 1e-4


# --- what it costs ---


class Recorder(TorchDispatchMode):
    """Counts operations, and the elements of the largest tensor that one of them makes."""

    def __init__(self):
        super().__init__()
        self.operations, self.largest = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        tensors = [x for x in torch.utils._pytree.tree_leaves(result) if hasattr(x, "numel")]
        self.largest = max([self.largest, *(tensor.numel() for tensor in tensors)])
        return result


@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_nothing_is_as_large_as_queries_times_keys_times_channels(position):
    frames, heads, size = 400, 2, 16
    features, lengths = torch.randn(1, frames, 20), torch.tensor([frames])
    with Recorder() as textbook:
        hugging_face(position_embeddings_type="relative_key")(features)
    assert textbook.largest >= frames * frames * size  # the recorder sees it where it is
    model = network(position_embeddings_type=position)
    with Recorder() as offline:
        model(features, lengths)
    assert offline.largest <= heads * frames * 2 * frames  # relative: 2 T - 1 distances
    chunking = Chunking(left=frames, chunk=100)
    state = model.wav2vec2_bert.init_state(1, chunking)
    rows = Rows(torch.tensor([0]), torch.tensor([100]), torch.tensor([100]))
    with Recorder() as streamed:
        model.forward_chunk(features[:, :100], rows, state, chunking)
    assert streamed.largest <= heads * 100 * 2 * (frames + 100)


@pytest.mark.parametrize("adapter", [{}, TWO_ADAPTERS], ids=["no adapter", "two adapters"])
@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_a_step_has_as_many_operations_for_few_streams_as_for_many(position, adapter):
    model = acoustic(position_embeddings_type=position, **adapter)
    hop = model.hop_samples
    counts = {}
    for cached in (True, False):
        for streams in (2, 3, 50):  # one stream alone saves torch some reshaping
            state = model.init_state(60, 8, 4, 4, cached)
            slots, frames = torch.arange(streams), torch.full((streams,), 4)
            samples = torch.randn(streams, hop * (8 if cached else 16) + 240)
            with Recorder() as step:
                if cached:
                    model.forward_chunk(samples, slots, frames, 2 * frames, state)
                else:
                    model.forward_window(samples, slots, frames, frames, 3 * frames, state)
            counts[cached, streams] = step.operations
    assert counts[True, 2] == counts[True, 3] == counts[True, 50] > 0
    assert counts[False, 2] == counts[False, 3] == counts[False, 50] > 0


# --- what cannot be ---


@pytest.mark.parametrize("geometry", [(-1, 4, 0), (8, 0, 0), (8, 4, -1)])
def test_an_impossible_geometry_is_refused(geometry):
    with pytest.raises(ValueError, match="expected left >= 0, chunk >= 1, right >= 0"):
        Chunking(*geometry)


@pytest.mark.parametrize("geometry", [(8, 3, 0), (7, 4, 0), (8, 4, 1)])
def test_a_geometry_that_an_adapter_splits_is_refused(geometry):
    with pytest.raises(ValueError, match="divisible by the adapter stride 2"):
        network(**ADAPTER).wav2vec2_bert.init_state(1, Chunking(*geometry))


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (2, 2), (1, 2), (3, 1)])
def test_an_adapter_that_needs_other_frames_cannot_stream(kernel, stride):
    model = network(add_adapter=True, adapter_kernel_size=kernel, adapter_stride=stride)
    with pytest.raises(ValueError, match="cannot stream"):
        model.wav2vec2_bert.init_state(1, Chunking(8, 4))
