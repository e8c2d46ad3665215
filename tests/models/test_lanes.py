"""Streams divided over lanes: the same answers, faults included."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from models.lanes import Lanes
from tests.models.networks import acoustic

pytestmark = pytest.mark.usefixtures("one_thread")

SLOTS, CHUNK = 7, 3


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 11])
def test_the_parts_are_all_rows_in_order_and_as_even_as_can_be(rows):
    seen = Lanes(3, 3).run(lambda part: list(range(rows))[part], rows)
    assert [row for part in seen for row in part] == list(range(rows))
    assert len(seen) == min(rows, 3)
    assert max(map(len, seen)) - min(map(len, seen)) <= 1


@pytest.mark.parametrize(("rows", "threads"), [(1, 6), (2, 3), (3, 2), (9, 2)])
def test_lanes_divide_the_threads_and_leave_those_of_the_caller(rows, threads):
    before = torch.get_num_threads()
    found = Lanes(3, 6).run(lambda _: (torch.get_num_threads(), threading.get_ident()), rows)
    assert {count for count, _ in found} == {threads}
    assert threading.get_ident() not in {lane for _, lane in found}
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as pool:  # a thread that is begun later
        assert pool.submit(torch.get_num_threads).result() == before


def test_all_lanes_have_ended_before_a_fault_is_told():
    ended = []

    def work(part):
        if part.start == 0:
            raise RuntimeError("the first")
        ended.append(part.start)

    with pytest.raises(RuntimeError, match="the first"):
        Lanes(4, 1).run(work, 4)
    assert sorted(ended) == [1, 2, 3]


def streaming(lanes, **changes):
    model = acoustic(5, **changes)
    model.share(lanes, lanes, 2)
    return model, model.init_state(SLOTS, 6, CHUNK, 0, True)


def samples_of(model, rows, chunks):
    hop = model.hop_samples
    return torch.randn(rows, CHUNK * chunks * hop + model.tail_samples) / 5


def watched(model):
    """For each part of the batches from now on, the slots in it."""
    seen, step = [], model.model.step

    def noting(features, rows, *rest):
        seen.append(rows.slots)
        return step(features, rows, *rest)

    model.model.step = noting
    return seen


@pytest.mark.parametrize("changes", [{}, {"add_adapter": True}], ids=["no adapter", "adapter"])
@torch.inference_mode()
def test_random_batches_say_the_same_on_lanes(changes):
    (plain, state), (divided, lanes_state) = streaming(1, **changes), streaming(3, **changes)
    lanes = watched(divided)
    torch.manual_seed(1)
    for step in range(30):
        slots = torch.randperm(SLOTS)[: int(torch.randint(1, SLOTS + 1, ()))].sort().values
        first, last = int(slots[0]), int(slots[-1])
        span = slice(first, last + 1) if last - first + 1 == len(slots) and step % 2 else None
        chunks = 1 + step % 3
        samples = samples_of(plain, len(slots), chunks)
        counts = torch.full_like(slots, CHUNK * chunks)
        expected, state = plain.forward_chunk(samples, slots, counts, counts, state, span)
        found, lanes_state = divided.forward_chunk(
            samples, slots, counts, counts, lanes_state, span
        )
        assert torch.allclose(found, expected, atol=1e-4)
        assert len(lanes) == (1 if len(slots) == 1 else min(3, len(slots)))
        lanes.clear()
    ring, lanes_ring = state.encoder.ring, lanes_state.encoder.ring
    assert torch.equal(ring.positions, lanes_ring.positions)
    assert torch.equal(ring.position, lanes_ring.position)
    assert torch.allclose(state.stats.first, lanes_state.stats.first)


@pytest.mark.parametrize("chunks", [1, 2])
@torch.inference_mode()
def test_a_call_of_which_one_lane_fails_can_be_made_again(chunks, monkeypatch):
    (model, state), (other, unharmed) = streaming(2), streaming(2)
    slots, counts = torch.arange(4), torch.full((4,), CHUNK)
    for _ in range(3):
        samples = samples_of(model, 4, 1)
        for each, its in ((model, state), (other, unharmed)):
            each.forward_chunk(samples, slots, counts, counts, its)
    counts, step = counts * chunks, model.model.step

    def fail_in_the_second(features, rows, *rest):
        found = step(features, rows, *rest)
        if 2 in rows.slots:
            raise RuntimeError("a lane failed")
        return found

    samples = samples_of(model, 4, chunks)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="a lane failed"):
        patch.setattr(model.model, "step", fail_in_the_second)
        model.forward_chunk(samples, slots, counts, counts, state)
    for _ in range(2):
        again, _ = model.forward_chunk(samples, slots, counts, counts, state)
        expected, _ = other.forward_chunk(samples, slots, counts, counts, unharmed)
        assert torch.allclose(again, expected, atol=1e-5)
        samples = samples_of(model, 4, chunks)


@pytest.mark.parametrize("lanes", [1, 2])
@torch.inference_mode()
def test_a_call_whose_answer_finds_no_memory_has_changed_nothing(lanes, monkeypatch):
    model, state = streaming(lanes)
    slots, counts = torch.arange(4), torch.full((4,), CHUNK)
    join, labels = torch.cat, len(model.vocabulary.tokens)

    def cat(parts, *rest, **options):
        if parts[0].shape[-1] == labels:
            raise RuntimeError("no memory")
        return join(parts, *rest, **options)

    monkeypatch.setattr(torch, "cat", cat)
    with pytest.raises(RuntimeError, match="no memory"):
        model.forward_chunk(samples_of(model, 4, 1), slots, counts, counts, state)
    assert not state.encoder.ring.position.any()
    assert not state.stats.count.any()
