"""A stand-in for CUDA graphs on a CPU: the operations of one call, run again on the same tensors.

As with a graph, nothing of Python is left: every tensor is that of the recording, every number is
the one it was. What the recording made itself holds rubbish when a repetition begins.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FORBIDDEN = {
    "_local_scalar_dense",
    "item",
    "nonzero",
    "unique",
    "masked_select",
    "is_nonzero",
    "equal",
}
FORBIDDEN |= {"lift_fresh"}  # a tensor of Python values: a copy from the host


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def memory(tree):
    plain = [each for each in tensors(tree) if each.layout == torch.strided]
    return {each.untyped_storage().data_ptr() for each in plain}


class Tape(TorchDispatchMode):
    """Notes every operation; refuses those for which a device must hand over a value."""

    def __init__(self):
        super().__init__()
        self.steps, self.made = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        indices = tensors(args[1:]) if name.startswith("index") else []
        if name in FORBIDDEN or any(each.dtype == torch.bool for each in indices):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        result = function(*args, **kwargs)
        given = memory((args, kwargs))
        new = [each for each in tensors(result) if not memory(each) <= given]
        self.steps.append((function, args, kwargs, new))
        self.made += new
        return result

    def repeat(self):
        for each in self.made:
            each.fill_(float("nan") if each.is_floating_point() or each.is_complex() else 1)
        for function, args, kwargs, new in self.steps:
            if new:
                result = tensors(function(*args, **kwargs))
                for kept, found in zip(new, result, strict=True):
                    kept.copy_(found)
            elif function._schema.is_mutable:
                function(*args, **kwargs)


class TapeRecorder:
    """A `Recorder` that makes tapes; fails from the recording with the number `broken` on."""

    def __init__(self, broken=None):
        self.tapes, self.repeated, self._broken = [], [], broken

    def host(self, shape, dtype):
        return torch.empty(shape, dtype=dtype).fill_(-1)

    def record(self, work):
        work()
        if len(self.tapes) == self._broken:
            raise RuntimeError("operation not permitted")
        tape = Tape()
        with tape:
            work()
        number = len(self.tapes)
        self.tapes.append(tape)

        def repeat():
            self.repeated.append(number)
            tape.repeat()

        return repeat

    def wait(self):
        pass
