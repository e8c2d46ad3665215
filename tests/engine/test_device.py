"""What is chosen for the machine: devices by name, threads by trial."""

import time

import pytest
import torch

from streamer.engine import device


@pytest.mark.parametrize(
    ("count", "name", "message"),
    [
        (0, "cuda", "torch finds no CUDA device here; use cpu or auto"),
        (0, "cuda:1", "torch finds no CUDA device here; use cpu or auto"),
        (2, "cuda:2", "expected cuda:0 to cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_named(monkeypatch, count, name, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=f"device '{name}': {message}"):
        device.choose_device(name)


def test_int8_needs_a_processor_that_has_it(monkeypatch):
    monkeypatch.setattr(device, "_abilities", set)
    with pytest.raises(ValueError, match="no instructions for it"):
        device.choose_dtype("int8", "cpu")
    with pytest.raises(ValueError, match="expected device cpu, got cuda"):
        device.choose_dtype("int8", "cuda")
    assert device.choose_dtype("auto", "cpu") is torch.float32
    monkeypatch.setattr(device, "_abilities", lambda: {"avx512_bf16", "avx512_vnni"})
    assert device.choose_dtype("int8", "cpu") is torch.bfloat16
    assert device.choose_dtype("auto", "cpu") is torch.bfloat16


@pytest.mark.parametrize(
    ("seconds", "best"),
    [({1: 1, 2: 2, 4: 0}, 1), ({1: 3, 2: 2, 4: 4, 6: 1}, 2), ({1: 4, 2: 3, 4: 2, 6: 1}, 6)],
)
def test_threads_are_added_as_long_as_a_step_gets_shorter(monkeypatch, seconds, best):
    now, used = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def trial():
        now[0] += seconds[used[-1]]

    assert device.choose_threads(trial, used.append, max(seconds)) == best
    assert used[-1] == best


@pytest.mark.parametrize(
    ("lanes", "largest", "faster_from", "chosen"),
    [(2, 64, 2, (2, 2)), (3, 64, 7, (3, 8)), (3, 12, 16, (1, 16)), (1, 64, 2, (1, 2))],
)
def test_a_batch_is_shared_from_the_size_on_that_gains_by_it(
    monkeypatch, lanes, largest, faster_from, chosen
):
    now, used = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def trial(size):
        count, least = used[-1]
        assert size == least <= largest
        now[0] += 1.0 if count == 1 else 0.7 if size >= faster_from else 0.9

    device.choose_sharing(trial, lambda *how: used.append(how), lanes, largest)
    assert used[-1] == chosen


def test_a_batch_that_takes_long_and_gains_nothing_is_the_last_that_is_tried(monkeypatch):
    now, sizes, used = [0.0], set(), []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def trial(size):
        sizes.add(size)
        now[0] += 0.3 * size

    device.choose_sharing(trial, lambda *how: used.append(how), 2, 64)
    assert sizes == {2, 4}
    assert used[-1] == (1, 4)


def test_no_memory_is_told_from_other_faults():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert device.is_out_of_memory(caught.value)
    assert device.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not device.is_out_of_memory(RuntimeError("shapes do not fit"))
