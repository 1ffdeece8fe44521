# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The layout of weights on a GPU: the packer's own code, run on this processor, and products in NumPy of its tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gpu_machine
import numpy as np
import pytest
from mk.ir import Module
from mk.runtime.gpu import convert
from mk.runtime.gpu.check import BLOCK_BYTES, tile_blocks

Array = np.ndarray[Any, Any]

# Columns, copies of a tile, and blocks of 64 columns in each: see mk_task::FragmentTile.
GEOMETRY = {
    96: (1, 2),
    576: (1, 9),
    1536: (1, 24),
    2048: (1, 32),
    2816: (2, 22),
    4096: (2, 32),
    8192: (4, 32),
}
GEOMETRY |= {11008: (6, 29), 14336: (7, 32)}

# A product of 8 rows; two tiles on one worker.
PLAN = """
module attributes {
  mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 1, lanes = 2, bandwidth = 3150, shared = 232448,
                         in_flight = 32768>,
  mk.options = #mk.options<max_tokens = 16, max_rows = 16, max_sequences = 8, max_length = 64, page = 32, split = 32>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?xKxbf16>
    mk_task.buffer @y domain(tokens) offset(1048576) : tensor<?x8xf32>
    mk_task.weight @w [@w] layout(tiles) : tensor<8xKxbf16>
    mk_task.kind @linear class(tiles) domain(tokens) units(2)
        segments [#mk_task.segment<base = 0, limit = 8, outer = 2, stride = 4, half = 2, partner = 2>] {
    ^bb0(%x: tensor<?xKxbf16>, %w: tensor<8xKxbf16>):
      %y = mk.linear %x, [%w] : (tensor<?xKxbf16>, tensor<8xKxbf16>) -> tensor<?x8xf32>
      mk.yield %y : tensor<?x8xf32>
    }
    mk_task.family @a kind(@linear) [@x, @w] -> [@y]
    mk_task.task @a units(0, 2) worker(0) wait [] previous [] signal []
  }
}
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """mk_pack of mk-add-packer as code of this processor: one thread takes all fragments."""
    module = Module.parse("module {}")
    module.run("mk-add-packer")
    module.run("mk-gpu-pipeline")
    kernels = gpu_machine.library(str(module), tmp_path_factory.mktemp("pack"))

    def run(
        source: Array, map: Array, places: Array, stream: Array, dtype: str, gain: Array | None = None
    ) -> None:
        pointers = (a.ctypes.data for a in (source, map, places, stream))
        ordered = None if gain is None else convert.fragments(gain.view(np.uint32))
        gains = 0 if ordered is None else ordered.ctypes.data
        kernels.mk_pack(*pointers, len(map), source.shape[1], convert.CODES[dtype], gains)

    return run


def _values(rng: np.random.Generator, *shape: int) -> Array:
    """Small whole numbers: exact in bfloat16 and float16, and so are their sums in float32."""
    return rng.integers(-8, 9, shape).astype(np.float32)


def _bits(values: Array, dtype: str) -> Array:
    if dtype == "float16":
        return values.astype(np.float16)
    return convert.convert(values.view(np.uint32), "float32", dtype)


def _wide(bits: Array) -> Array:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _packed(pack: Callable[..., None], w: Array, dtype: str = "bfloat16", gain: Array | None = None) -> Array:
    """uint16 [tiles, bytes / 2]: rows 4 i .. 4 i + 3 as tile i, the tiles in descending order in the stream."""
    tiles, blocks = len(w) // 4, tile_blocks(w.shape[1])
    stream = np.zeros((tiles, blocks * BLOCK_BYTES // 2), np.uint16)
    places = np.arange(tiles, dtype=np.int64)[::-1] * (blocks * BLOCK_BYTES // 64)
    pack(
        _bits(w, dtype), np.arange(len(w), dtype=np.int32).reshape(-1, 4), places.copy(), stream, dtype, gain
    )
    return stream[::-1]


@pytest.mark.parametrize("columns", GEOMETRY)
def test_tiles_are_as_long_as_the_runtime_thinks(columns: int) -> None:
    chunks, blocks = GEOMETRY[columns]
    assert tile_blocks(columns) == chunks * blocks and blocks <= 32 and chunks * blocks * 64 >= columns
    module = Module.parse(PLAN.replace("K", str(columns)))
    module.run("mk-plan-weights")
    (weight,) = (op for op in module.walk() if op.name == "mk_task.weight")
    assert np.diff(weight.attributes["tile_offsets"]).tolist() == [chunks * blocks * BLOCK_BYTES // 64]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("columns", [96, 576, 2816])
def test_the_packer_writes_the_documented_layout(pack: Callable[..., None], columns: int, dtype: str) -> None:
    w = _values(np.random.default_rng(0), 8, columns)
    found = _wide(_packed(pack, w, dtype))
    padded = np.zeros((8, tile_blocks(columns) * 64), np.float32)
    padded[:, :columns] = w
    for tile in range(2):
        # [K / 64][2 groups][4 rows][4 threads][8 elements]
        tiles = found[tile].reshape(-1, 2, 4, 4, 8)
        rows = padded[4 * tile : 4 * tile + 4].reshape(4, -1, 64)
        for group in range(2):
            for thread in range(4):
                elements = [
                    32 * s + 16 * h + 8 * group + 2 * thread + e
                    for s in range(2)
                    for h in range(2)
                    for e in range(2)
                ]
                expected = rows[..., elements].swapaxes(0, 1)
                np.testing.assert_array_equal(tiles[:, group, :, thread], expected)


def test_the_packer_scales_columns_before_it_rounds(pack: Callable[..., None]) -> None:
    rng = np.random.default_rng(2)
    w, gain = _values(rng, 8, 96), rng.standard_normal(96).astype(np.float32)
    plain, scaled = (_wide(_packed(pack, matrix, gain=g)) for matrix, g in ((w * gain, None), (w, gain)))
    np.testing.assert_array_equal(scaled, plain)
    assert (scaled != _wide(_packed(pack, w))).any()


def test_the_packer_leaves_what_is_not_its_own(pack: Callable[..., None]) -> None:
    w = _values(np.random.default_rng(1), 2, 64)
    stream = np.full((1, 256), 0xABCD, np.uint16)
    pack(
        _bits(w, "bfloat16"), np.array([[1, -2, -1, 0]], np.int32), np.zeros(1, np.int64), stream, "bfloat16"
    )
    rows = stream.reshape(2, 4, 32)
    assert (rows[:, 1] == 0xABCD).all() and (rows[:, 2] == 0).all()
    # The groups of K are bit 3 of a column, the elements of a thread its bits 5, 4 and 0.
    bits = _bits(w, "bfloat16").reshape(2, 2, 2, 2, 4, 2)  # [row][bit 5][bit 4][bit 3][thread][bit 0]
    ordered = bits.transpose(3, 0, 4, 1, 2, 5).reshape(2, 2, 32)  # [group][row][thread][element]
    np.testing.assert_array_equal(rows[:, [3, 0]], ordered)


# A warp of 32 threads; g and t as in the figures of mma.m16n8k16 in the PTX manual.
LANE = np.arange(32)
G, T = LANE // 4, LANE % 4


def _mma(a: Array, b: Array, c: Array) -> Array:
    """mma.m16n8k16 from the registers of all threads: a [32, 4, 2], b [32, 2, 2], c [32, 4]."""
    left, right = np.zeros((16, 16)), np.zeros((16, 8))
    for i in range(4):
        for e in range(2):
            left[G + 8 * (i % 2), 2 * T + 8 * (i // 2) + e] = a[:, i, e]
    for i in range(2):
        for e in range(2):
            right[2 * T + 8 * i + e, G] = b[:, i, e]
    product = left @ right
    return c + np.stack([product[G + 8 * (i // 2), 2 * T + i % 2] for i in range(4)], axis=1)


def _tile_product(x: Array, tile: Array, columns: int) -> Array:
    """[8 rows of x, 4 rows of the tile] as passes/gpu/GpuLinear.cpp computes it, the warps' sums in one."""
    rows = convert.fragments(x).reshape(8, -1, 4, 4, 2)  # [row][segment][thread][word][element]
    weights = tile.reshape(-1, 32, 4, 2)  # [block][lane][word][element]
    sums = np.zeros((2, 32, 4))
    for block in range(len(weights)):
        # Blocks that pad the last chunk meet zeros, whatever rows they read.
        for s in range(2):
            a = rows[G, min(2 * block + s, columns // 32 - 1), T]
            sums[s] = _mma(_wide(a), _wide(weights[block, :, 2 * s : 2 * s + 2]), sums[s])
    first = (T < 2)[:, None]
    own = sum(np.where(first, c[:, :2], c[:, 2:]) for c in sums)
    total = own + own[LANE ^ 2]
    result = np.zeros((8, 4))
    for i in range(2):
        result[G[T < 2], 2 * T[T < 2] + i] = total[T < 2, i]
    return result


@pytest.mark.parametrize("columns", GEOMETRY)
def test_fragments_of_the_packer_make_the_product(pack: Callable[..., None], columns: int) -> None:
    rng = np.random.default_rng(columns)
    w, x = _values(rng, 8, columns), _values(rng, 8, columns)
    tiles = _packed(pack, w)
    found = np.concatenate([_tile_product(_bits(x, "bfloat16"), tile, columns) for tile in tiles], axis=1)
    np.testing.assert_array_equal(found, x @ w.T)


def test_a_tile_ends_in_zeros(pack: Callable[..., None]) -> None:
    """Columns that are no multiple of 64 end within a block."""
    w = _values(np.random.default_rng(2), 4, 96)
    (tile,) = _packed(pack, w)
    blocks = _wide(tile).reshape(2, 2, 4, 4, 2, 4)  # [block][group][row][thread][segment][element]
    assert (blocks[1, ..., 1, :] == 0).all() and blocks[1, ..., 0, :].any()
