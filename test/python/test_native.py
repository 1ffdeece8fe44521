# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The native library: its ABI, packing, conversion and memory, each against NumPy."""

from __future__ import annotations

from typing import Any

import fake_program as fake
import ml_dtypes
import numpy as np
import pytest
from mk.runtime import native, packing
from mk.runtime.abi import abi_hash


def test_abi_hash_of_the_manifest_is_that_of_the_library():
    assert abi_hash(fake.abi()) == native.library().mk_abi_hash()
    changed = fake.abi()
    changed["instruction"][3]["index"] += 1
    assert abi_hash(changed) != native.library().mk_abi_hash()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("source_dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_packed_tiles_are_the_layout_of_the_dialect(dtype: str, source_dtype: str, lanes: int):
    random = np.random.default_rng(1)
    columns, half = 131, 12  # an odd K, and groups that leave lanes empty
    parts = [random.standard_normal((rows, columns)).astype(source_dtype) for rows in (30, 26)]
    segments = [
        {"base": 0, "limit": 48, "outer": 2, "stride": 24, "half": half, "partner": half},
        {"base": 48, "limit": 56, "outer": 1, "stride": 2 * lanes, "half": lanes, "partner": lanes},
    ]
    units = sum(s["outer"] * -(-s["half"] // lanes) for s in segments)
    per_word = 4 // packing.ELEMENT_BYTES[dtype]
    words = -(-columns // per_word)
    tile_bytes = words * 2 * lanes * 4
    offsets = random.permutation(units) * -(-tile_bytes // 64)
    weight: Any = {
        "name": "w",
        "sources": ["a", "b"],
        "views": [None, None],
        "layout": "tiles",
        "shape": [56, columns],
        "dtype": dtype,
        "offset": None,
        "gathered": False,
        "scale": None,
        "segments": segments,
    }
    stream = native.Memory(int(offsets.max() + 1) * 64 + tile_bytes)
    packing._pack_tiles(weight, parts, offsets, stream, lanes)

    matrix = np.concatenate(parts).astype(np.float32).astype(dtype)
    tile = 0
    for segment in segments:
        per_outer = -(-segment["half"] // lanes)
        for unit in range(segment["outer"] * per_outer):
            o, s = divmod(unit, per_outer)
            expected = np.zeros((words, 2, lanes, per_word), dtype)
            for group in range(2):
                first = segment["base"] + o * segment["stride"] + s * lanes + group * segment["partner"]
                for lane in range(min(lanes, segment["half"] - s * lanes)):
                    if first + lane < segment["limit"]:
                        row = np.zeros(words * per_word, dtype)
                        row[:columns] = matrix[first + lane]
                        expected[:, group, lane] = row.reshape(words, per_word)
            found = stream.view(int(offsets[tile]) * 64, dtype, expected.size).reshape(expected.shape)
            np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))
            tile += 1


def test_conversion_rounds_to_nearest_even():
    bits = np.random.default_rng(2).integers(0, 2**32, 100_000, dtype=np.uint32)
    values = bits.view(np.float32)
    memory = native.Memory(values.size * 2)
    native.library().mk_convert(values.ctypes.data, 0, memory.address, 1, values.size, 2)
    with np.errstate(invalid="ignore"):
        expected = values.astype(ml_dtypes.bfloat16)
    found = memory.view(0, "bfloat16", values.size)
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(found.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])
    assert np.isnan(found[~numbers].astype(np.float32)).all()


def test_conversion_from_float16_is_exact():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    memory = native.Memory(halves.size * 4)
    native.library().mk_convert(halves.ctypes.data, 2, memory.address, 0, halves.size, 2)
    np.testing.assert_array_equal(memory.view(0, "float32", halves.size), halves.astype(np.float32))


def test_views_keep_memory_alive():
    view = native.Memory(1 << 20).view(4096, "float32", 16)
    view[:] = 7
    others = [native.Memory(1 << 20) for _ in range(8)]
    assert (view == 7).all() and len(others) == 8


def test_read_bandwidth_is_plausible():
    assert 1e8 < native.read_bandwidth(size=1 << 25, seconds=0.05) < 1e13
