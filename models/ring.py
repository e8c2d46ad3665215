"""How a streamed call reads and writes the slots of its rows, and which keys its frames see.

Owns the rings of keys and values: which cell a frame gets, what is visible from where. Must not
know: what attention does with it.

Shapes: B stream, T frame of this call, N slot, P ring cell, W written frame, H head, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.eight_bit import EightBit, decode, encode
from models.state import AttentionState, Update


@dataclass(frozen=True, slots=True)
class Rows:
    """Which slots a streamed call serves, and how far each of them goes on."""

    slots: Tensor  # (B,) row of the state for each row of the batch
    committed: Tensor  # (B,) leading frames that enter the state
    valid: Tensor  # (B,) leading frames that are audio; those after ``committed`` are lookahead
    span: slice | None = None  # the same as ``slots``, where they are neighbours in this order

    @property
    def index(self) -> Tensor | slice:
        """By which a state gives these rows: neighbours without a copy."""
        return self.slots if self.span is None else self.span

    def part(self, part: slice) -> Rows:
        """Some neighbours among the rows."""
        span = self.span
        if span is not None:
            span = slice(span.start + part.start, span.start + part.stop)
        return Rows(self.slots[part], self.committed[part], self.valid[part], span)

    def divided(self, stride: int) -> Rows:
        """The same rows after an adapter layer of this stride."""
        committed, valid = -(-self.committed // stride), -(-self.valid // stride)
        return Rows(self.slots, committed, valid, self.span)


@dataclass(frozen=True, slots=True)
class Sight:
    """Which keys the queries of one call may see, and at which relative position.

    ``positions`` are the queries' absolute positions. A streamed call writes its keys into the ring
    cells ``cells``: all at once; or where it holds several chunks, only frames ``kept``, and only
    when it is over. Then each chunk is a row of its own, B times as many, with the ring as it would
    find it: what its cells hold is ``source``, counted over the old ring and the new frames.
    """

    visible: Tensor  # (B or 1, 1, T, P) bool
    distance: Tensor  # (B or 1, 1, T, P) key position minus query position, 0 if not visible
    furthest: tuple[int, int]  # no distance is below or above; known without asking the device
    positions: Tensor  # (B or 1, T)
    cells: Tensor | None = None  # (B, T) or (B, W)
    kept: Tensor | None = None  # (B, W) negative: the cell stays as it is
    source: Tensor | None = None  # (B, chunks * P)


@dataclass(frozen=True, slots=True)
class Ring:
    """One layer's share of an AttentionState, opened for the rows of this call."""

    keys: Tensor  # (N, P, H, D), a view of the state
    values: Tensor
    rows: Rows
    update: Update
    coding: EightBit | None = None

    @staticmethod
    def of(state: AttentionState, layer: int, rows: Rows, update: Update) -> Ring:
        """The share of ``layer``."""
        return Ring(state.keys[:, layer], state.values[:, layer], rows, update, state.coding)

    def extend(self, key: Tensor, value: Tensor, sight: Sight) -> tuple[Tensor, Tensor]:
        """Write (B, T, H, D) into the ring; all that its chunks may see, (B, P, H, D) each."""
        if self.coding is None:
            return self._extend(self.keys, key, sight), self._extend(self.values, value, sight)
        keys = self._extend(self.keys, encode(key, self.coding), sight)
        values = self._extend(self.values, encode(value, self.coding), sight)
        return decode(keys, self.coding, key.dtype), decode(values, self.coding, value.dtype)

    def _extend(self, ring: Tensor, new: Tensor, sight: Sight) -> Tensor:
        assert sight.cells is not None
        cells = self.rows.slots[:, None], sight.cells
        if sight.kept is None or sight.source is None:
            ring[cells] = new
            return ring[self.rows.index]
        self.update.writes.append((ring, cells, merged(ring[cells], new, sight.kept)))
        found = picked(torch.cat([ring[self.rows.index], new], dim=1), sight.source)
        return found.reshape(-1, *ring.shape[1:])


def picked(frames: Tensor, index: Tensor) -> Tensor:
    """Of (B, T, …) the frames ``index`` (B, W)."""
    return frames[torch.arange(len(frames), device=frames.device)[:, None], index]


def merged(old: Tensor, new: Tensor, kept: Tensor) -> Tensor:
    """Frames ``kept`` (B, W) of ``new`` (B, T, …); where that is negative, those of ``old``."""
    stays = kept.reshape(*kept.shape, *[1] * (new.ndim - 2)) < 0
    return torch.where(stays, old, picked(new, kept.clamp_min(0)))


def open_ring(
    state: AttentionState,
    rows: Rows,
    frames: int,
    geometry: tuple[int, int, int],
    update: Update,
) -> Sight:
    """Book the cells for ``frames`` new frames and say what each of them may see.

    By the ``geometry`` (left, chunk, right) a frame sees the ``left`` frames before its chunk, its
    chunk, and the ``right`` frames after it. A call holds one chunk and its lookahead, or several
    whole chunks where there is none. One chunk goes into cells that no frame from ``start`` on can
    see, several chunks only when the update is committed: so as long as ``position`` is not
    advanced, the same call can be made again with the same result.
    """
    left, chunk, right = geometry
    start = state.position[rows.index][:, None]  # (B, 1)
    offset = torch.arange(frames, device=start.device)
    positions = start + offset  # (B, T)
    own = torch.where(offset < rows.valid[:, None], positions, -1)
    kept = source = None
    cells = positions % state.positions.shape[1]
    if frames == chunk + right:
        state.positions[rows.slots[:, None], cells] = own
        keys = state.positions[rows.index]
    else:
        assert frames % chunk == 0 == right, (frames, geometry)
        past = state.positions[rows.index]
        source = ring_by_chunk(start, frames // chunk, chunk, past.shape[1])
        keys = picked(torch.cat([past, own], dim=1), source)
        width = min(frames, past.shape[1])
        kept = rows.committed[:, None] - width + torch.arange(width, device=start.device)
        cells = (start + kept) % past.shape[1]
        at = rows.slots[:, None], cells
        update.writes.append((state.positions, at, merged(state.positions[at], own, kept)))
    keys = keys.reshape(-1, 1, 1, state.positions.shape[1])
    queries = positions.reshape(len(keys), 1, -1, 1)
    begin = queries[:, :, :1]
    visible = (keys >= 0) & (keys >= begin - left) & (keys < begin + chunk + right)
    distance = torch.where(visible, keys - queries, 0)
    furthest = -(left + chunk + right - 1), chunk + right - 1
    return Sight(visible, distance, furthest, positions, cells, kept, source)


def ring_by_chunk(start: Tensor, chunks: int, chunk: int, cells: int) -> Tensor:
    """What each cell holds when each chunk is in the ring, (B, chunks * P); see ``Sight.source``.

    ``start`` (B, 1) is the position of the first new frame.
    """
    cell = torch.arange(cells, device=start.device)
    last = start + chunk * torch.arange(1, chunks + 1, device=start.device) - 1  # (B, chunks)
    latest = last[..., None] - (last[..., None] - cell) % cells  # position in a cell, if any
    new = cells + latest - start[..., None]
    return torch.where(latest < start[..., None], cell, new).flatten(1)


def progress(state: AttentionState, rows: Rows) -> tuple[Tensor, Tensor | slice, Tensor]:
    """The write by which the committed frames of ``rows`` become the past."""
    return state.position, rows.index, state.position[rows.index] + rows.committed
