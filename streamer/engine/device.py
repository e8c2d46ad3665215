"""Which device, which number format and how many threads a model runs with.

Owns what is asked of the machine. Must not know: models, windows.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TRIALS = 3
GAIN = 0.8
"""Of the time without lanes, what a step may take with them: they cost processor time besides."""
LONG_S = 1.0
"""A step that takes longer gains no more by being larger, and trials of it would take minutes."""
FLOAT8_CAPABILITY = (9, 0)  # Hopper: a scale for each row and each output

EightBit = Literal["int8", "float8"]


def choose_device(device: str) -> str:
    """``auto`` resolved; a named device checked."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind, index = torch.device(device).type, torch.device(device).index or 0
    except RuntimeError as error:
        raise ValueError(f"device {device!r}: expected auto, cpu or cuda") from error
    count = torch.cuda.device_count()
    if kind == "cuda" and not count:
        raise ValueError(f"device {device!r}: torch finds no CUDA device here; use cpu or auto")
    if kind == "cuda" and index >= count:
        raise ValueError(f"device {device!r}: expected cuda:0 to cuda:{count - 1}")
    return device


def choose_dtype(dtype: str, device: str) -> torch.dtype:
    """``auto`` resolved: bfloat16 on CUDA and on CPUs that have AMX or AVX-512 BF16.

    ``int8`` and ``float8`` are that of matrix products alone: int8 on CPUs, where the rest is
    computed as with ``auto``; float8 on GPUs, and slowly on CPUs.
    """
    if dtype == "float8":
        _check_float8(device)
        return torch.bfloat16
    if dtype == "int8":
        if device != "cpu":
            raise ValueError(f"dtype 'int8': expected device cpu, got {device}")
        if not _abilities() & {"avx512_vnni", "avx_vnni", "amx_int8"}:
            raise ValueError("dtype 'int8': this processor has no instructions for it (VNNI, AMX)")
    elif dtype != "auto":
        if dtype not in DTYPES:
            known = ", ".join([*DTYPES, "int8", "float8"])
            raise ValueError(f"dtype {dtype!r}: expected auto or one of {known}")
        return DTYPES[dtype]
    fast = device.startswith("cuda") or _abilities() & {"amx_bf16", "avx512_bf16"}
    return torch.bfloat16 if fast else torch.float32


def _check_float8(device: str) -> None:
    if device.startswith("cuda"):
        found = torch.cuda.get_device_capability(device)
        if found < FLOAT8_CAPABILITY:
            least, got = (".".join(map(str, each)) for each in (FLOAT8_CAPABILITY, found))
            raise ValueError(
                f"dtype 'float8': expected a GPU of compute capability {least} or more, got {got}"
            )


def eight_bit(dtype: str) -> EightBit | None:
    """The format of 8 bits that a setting names, if it names one."""
    return cast("EightBit", dtype) if dtype in get_args(EightBit) else None


def _abilities() -> set[str]:
    """What this processor can, as Linux names it; nothing where nobody says."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch >= 2.12
    if ask is not None:
        return {name for name, has in ask().items() if has}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device had no memory left; on a CPU nothing but the words says so."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """So many in the calling thread, and behind it as many as there were: others count on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_threads(trial: Callable[[], None], use: Callable[[int], None], most: int) -> int:
    """The number of threads, from 1 to `most`, with which ``trial`` takes least time.

    ``use`` sets it, for the trial's time and as chosen. Small models are slower with two threads
    than with one: their operations are over before the threads have met. Where processors are busy
    with other work, so are large ones.
    """
    best, threads, least_s = 1, 1, float("inf")
    while threads <= most > 1:
        use(threads)
        taken_s = seconds(trial)
        if taken_s > least_s:
            break
        best, least_s = threads, taken_s
        threads = most if threads < most < 2 * threads else 2 * threads
    use(best)
    return best


def choose_sharing(
    trial: Callable[[int], None], share: Callable[[int, int], None], lanes: int, largest: int
) -> None:
    """From which size on a batch is divided over lanes: the least that takes far less time so.

    ``trial`` runs a batch of a size; ``share`` sets the lanes, 1 for none, and the least size. A
    small model's parts are over before Python has begun them all, those of large batches are not.
    """
    least = 2
    while least <= largest and lanes > 1:
        times = []
        for count in (1, lanes):
            share(count, least)
            times.append(seconds(partial(trial, least)))
        if times[1] < GAIN * times[0]:
            return
        if times[0] > LONG_S:
            break
        least *= 2
    share(1, least)


def seconds(trial: Callable[[], None]) -> float:
    """The least of several times, behind one that warms up."""
    trial()
    times = []
    for _ in range(TRIALS):
        begin = time.perf_counter()
        trial()
        times.append(time.perf_counter() - begin)
    return min(times)
