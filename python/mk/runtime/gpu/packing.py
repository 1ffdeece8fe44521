# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Brings the sources of a weight to their places on the GPU: tiles by its own kernels, vectors from the host."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import PackageError
from mk.runtime.gpu import random
from mk.runtime.gpu.arrays import DeviceArray, HostArray, RandomArray, Source, flat, row_bytes
from mk.runtime.gpu.code import PACK, RANDOM, Code
from mk.runtime.gpu.convert import CODES, convert, fragments, size_of
from mk.runtime.gpu.staging import Ring

if TYPE_CHECKING:
    from mk.compiler.manifest import Segment, Weight

    Array = np.ndarray[Any, Any]

_ABSENT, _LEAVE = -1, -2  # of a row map: zeros, and what another source or block of rows writes
_LINE = 64


def unit_rows(segments: Sequence[Segment], lanes: int) -> Array:
    """int64 [units, 2 * lanes]: which row of the weight each row of a unit's tile is, -1 where there is none.

    See `Segment`; the same as TileMap::sourceRows of the compiler.
    """
    parts = []
    for segment in segments:
        inner_units = -(-segment["half"] // lanes)
        unit = np.arange(segment["outer"] * inner_units)
        inside = unit % inner_units * lanes
        lane = np.arange(lanes)
        groups = []
        for group in range(2):
            first = segment["base"] + unit // inner_units * segment["stride"] + inside
            first += group * segment["partner"]
            valid = np.clip(segment["limit"] - first, 0, np.minimum(lanes, segment["half"] - inside))
            groups.append(np.where(lane < valid[:, None], first[:, None] + lane, _ABSENT))
        parts.append(np.concatenate(groups, axis=1))
    return np.concatenate(parts) if parts else np.zeros((0, 2 * lanes), np.int64)


def pack_tiles(
    weight: Weight, sources: Sequence[Source], offsets: Array, lanes: int, ring: Ring, code: Code, stream: int,
    gain: int = 0,
) -> None:  # fmt: skip
    """Has mk_pack write every tile; `offsets`: int64 [units]; `stream`: address of the arena, which holds zeros.

    `gain`: 0, or the address of float32 [columns] in the order of fragments, by which the columns are multiplied.

    Raises PackageError if the plan does not fit the shape.
    """
    rows = unit_rows(weight["segments"], lanes)
    count = math.prod(weight["shape"][:-1])  # of all matrices
    if len(rows) != len(offsets) or (len(rows) and not -1 <= rows.min() <= rows.max() < count):
        raise PackageError(
            f"the packing plan of {' + '.join(weight['sources'])} does not fit its shape; compile the model again"
        )
    # Nearly all units have neighbouring rows: a few of them are of a block of rows, and only these are looked at.
    low = np.where(rows < 0, count, rows).min(axis=1, initial=count)
    high = rows.max(axis=1, initial=_ABSENT)
    first = 0
    for source in [flat(source) for source in sources]:
        data = row_bytes(source) if not isinstance(source, DeviceArray) else 0
        unit = (
            4 * rows.shape[1] + 8
        )  # bytes of a unit's row map and place; no block of rows has more units than rows
        step = (ring.size - 4 * _LINE) // (data + unit)
        if step < 1:
            raise PackageError(f"{source.name}: a row of {data} bytes is longer than mk takes")
        for begin in range(0, source.shape[0], step):
            end = min(begin + step, source.shape[0])
            near = np.flatnonzero((high >= first + begin) & (low < first + end))
            local = rows[near] - (first + begin)
            inside = (local >= 0) & (local < end - begin)
            some = inside.any(axis=1)
            map = np.where(inside, local, np.where(rows[near] < 0, _ABSENT, _LEAVE))[some]
            touched = near[some]
            _pack_block(source, begin, end, map.astype(np.int32), offsets[touched], ring, code, stream, gain)
        first += source.shape[0]


def _pack_block(
    source: Source,
    begin: int,
    end: int,
    map: Array,
    offsets: Array,
    ring: Ring,
    code: Code,
    stream: int,
    gain: int,
) -> None:
    """Rows [begin, end) of a source: into the ring's block with their maps behind them, and from there into tiles."""
    slot, block, columns = ring.take(), ring.block.address, source.shape[1]
    at, size = 0, (end - begin) * row_bytes(source)
    if isinstance(source, HostArray):
        ring.fill(source.bits[begin:end].reshape(-1), source.dtype, source.dtype, source.name)
    if not isinstance(source, DeviceArray):
        at = -(-size // _LINE) * _LINE
    places = at + -(-map.nbytes // _LINE) * _LINE
    slot.view(at, "int32", map.size)[:] = map.reshape(-1)
    slot.view(places, "int64", offsets.size)[:] = offsets
    sent = 0 if isinstance(source, HostArray) else at
    ring.send(sent, places + offsets.nbytes - sent, block + sent)
    data = block
    if isinstance(source, DeviceArray):
        data = source.address + begin * row_bytes(source)
    with ring.gpu:
        if isinstance(source, RandomArray):
            _randomise(source, begin, end, block, ring, code)
        numbers = (data, block + at, block + places, stream)
        code.helper(PACK, ring.stream, *(ctypes.c_uint64(n) for n in numbers), ctypes.c_int64(len(offsets)),
                    ctypes.c_int64(columns), ctypes.c_int64(CODES[source.dtype]), ctypes.c_uint64(gain))  # fmt: skip


def _randomise(source: RandomArray, begin: int, end: int, address: int, ring: Ring, code: Code) -> None:
    seed = random.mixed(source.seed, source.name, begin)
    count = (end - begin) * math.prod(source.shape[1:])
    code.helper(RANDOM, ring.stream, ctypes.c_uint64(address), ctypes.c_int64(count), ctypes.c_int64(seed),
                ctypes.c_float(random.scale(source)))  # fmt: skip


def write_rows(weight: Weight, sources: Sequence[Source], ring: Ring, code: Code, address: int) -> None:
    """Puts a weight of layout `rows` or `fragments` at `address`, one source after the other."""
    target, permute = weight["dtype"], weight["layout"] == "fragments"
    for source in sources:
        plain = source.dtype == target and not permute
        if isinstance(source, RandomArray):
            if plain:
                with ring.gpu:
                    _randomise(source, 0, source.shape[0], address, ring, code)
                address += math.prod(source.shape) * size_of(target)
                continue
            source = random.on_host(source)
        elif isinstance(source, DeviceArray):
            if plain:
                size = math.prod(source.shape) * size_of(target)
                with ring.gpu:
                    ring.gpu.cuda("cuMemcpyDtoDAsync", address, source.address, size, ring.stream)
                address += size
                continue
            source = source.download(ring.gpu)
        bits, dtype = source.bits, source.dtype
        if permute:  # these are vectors: short
            bits, dtype = fragments(convert(bits, dtype, target)), target
        address = _send(bits.reshape(-1), dtype, target, source.name, ring, address)


def _send(bits: Array, source: str, target: str, name: str, ring: Ring, address: int) -> int:
    """Copies a flat array to the GPU, converted; returns the address behind it."""
    step = ring.size // 4
    for begin in range(0, bits.size, step):
        ring.take()
        size = ring.fill(bits[begin : begin + step], source, target, name)
        ring.send(0, size, address)
        address += size
    return address
