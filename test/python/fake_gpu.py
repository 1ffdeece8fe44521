# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The program of fake_program.py as one for a GPU, with kernels in Python that fake_cuda.py runs."""

from __future__ import annotations

import copy
import ctypes
import time
from typing import Any

import fake_program as fake
import numpy as np
from fake_cuda import FakeCuda
from mk.program import Program
from mk.runtime.request import Request

WORKERS, COLUMNS = 4, 2
BIAS, CONTROL, GAIN, PLACES = 0, 64, 128, 256
KERNEL = {"name": "mk_main", "tokens": fake.SIZES["max_tokens"], "registers": 168, "spills": 0}
GAINS = 40  # columns of a vector in the order of fragments
OFFSETS = np.array([3, 1, 0, 2], np.int64)


class Memory:
    """Bytes at an address, as mk.runtime.request.Block."""

    def __init__(self, address: int) -> None:
        self.address = address

    def view(self, offset: int, dtype: str, count: int) -> np.ndarray[Any, Any]:
        kind = ctypes.c_uint8 * (np.dtype(dtype).itemsize * count)
        return np.frombuffer(kind.from_address(self.address + offset), dtype)


def program(*, microseconds: float = 0, hang_at: int = -1, **fields: Any) -> Program:
    """A new program with its weights; a step takes at least `microseconds`, number `hang_at` gives itself up."""
    made = fake.program(**fields)
    manifest: Any = copy.deepcopy(made.manifest)
    manifest["target"] |= {"kind": "gpu", "arch": "sm_90a", "workers": WORKERS, "lanes": 2}
    manifest["gpu"] = {"threads": 288, "shared": 1000, "kernels": [KERNEL]}
    manifest["arenas"] |= {"params": 320, "stream": 64 * 3 + 512, "scratch": 0}
    w, bias, control = manifest["weights"]
    w |= {"dtype": "bfloat16", "offset": PLACES}
    bias |= {"offset": BIAS}
    control |= {"offset": CONTROL}
    gain = {
        **bias,
        "name": "gain",
        "sources": ["gain"],
        "views": [None],
        "layout": "fragments",
        "shape": [GAINS],
    }
    manifest["weights"].append(gain | {"dtype": "bfloat16", "offset": GAIN})
    made.manifest = manifest
    table = np.zeros((WORKERS, 2, 32), np.int32)
    table[:, :, 14] = -1
    table[:, 1, 0] = -1
    made.arrays |= {"table": table, "counts": np.ones(WORKERS, np.int64), "tile_offsets/w": OFFSETS}
    made.code = b"a cubin"
    if "weights" not in fields:
        made.weights = weights(microseconds, hang_at)
    return made


def weights(microseconds: float = 0, hang_at: int = -1) -> dict[str, Any]:
    """As in fake_program.py, and a gain."""
    return {**fake.weights(microseconds, hang_at), "gain": np.arange(GAINS, dtype=np.float32)}


def cuda() -> FakeCuda:
    """A driver with the kernels of `program`."""
    main = [ctypes.c_uint64 * fake.abi()["context_words"]]
    pointer, number = ctypes.c_uint64, ctypes.c_int64
    return FakeCuda(
        {
            "mk_main": (mk_main, main),
            "mk_pack": (mk_pack, [pointer] * 4 + [number] * 3 + [pointer]),
            "mk_random": (mk_random, [pointer, number, number, ctypes.c_float]),
        }
    )


def tiles(stream: Memory) -> np.ndarray[Any, Any]:
    """float32 [units, 4, columns]: what mk_pack has written; its tiles are rows of bfloat16."""
    bits = stream.view(0, "uint16", 4 * 32).reshape(4, 32)[OFFSETS, : 4 * COLUMNS]
    return (bits.astype(np.uint32) << 16).view(np.float32).reshape(-1, 4, COLUMNS)


def mk_pack(
    source: int, map: int, offsets: int, stream: int, units: int, columns: int, kind: int, gain: int
) -> None:
    assert gain == 0  # no weight of the program has a scale
    rows = Memory(map).view(0, "int32", 4 * units).reshape(units, 4)
    places = Memory(offsets).view(0, "int64", units)
    for unit, row in np.argwhere(rows != -2).tolist():
        at = rows[unit, row]
        to = Memory(stream).view(64 * int(places[unit]) + 2 * columns * row, "uint16", columns)
        to[:] = 0 if at < 0 else _bfloat16(source, int(at), columns, kind)


def _bfloat16(source: int, row: int, columns: int, kind: int) -> np.ndarray[Any, Any]:
    size = 4 if kind == 0 else 2
    values = Memory(source + row * columns * size).view(0, ["float32", "uint16", "float16"][kind], columns)
    return values if kind == 1 else (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def mk_random(to: int, count: int, seed: int, scale: float) -> None:
    values = (np.random.default_rng(seed).random(count, np.float32) * 2 - 1) * np.float32(scale)
    Memory(to).view(0, "uint16", count)[:] = values.view(np.uint32) >> 16


def mk_main(words: list[int]) -> None:
    abi = program().manifest["abi"]
    at = {field["name"]: words[field["index"]] for field in abi["context"]}
    request, host = (
        Request(Memory(at["request"]), abi["request"]),
        Request(Memory(at["host"]), abi["request"]),
    )
    delay, hang_at = Memory(at["params"] + CONTROL).view(0, "float32", 2).tolist()
    step = Memory(at["step"]).view(0, "uint64", 1)
    while request["running"][0]:
        if int(step[0]) == hang_at:
            records = Memory(at["stall"]).view(0, "int64", 4 * WORKERS).reshape(WORKERS, 4)
            records[1:3] = [[1, 0, 1, 5], [1, 0, 1, 6]]
            records[0] = [1, 0, -1, 9]
            return
        time.sleep(delay / 1e6)
        _step(at, request, host)
        step[0] += 1


def _step(at: dict[str, int], request: Request, host: Request) -> None:
    count, rows = int(request["n_tokens"][0]), int(request["n_rows"][0])
    pages = request["page_table"].reshape(fake.SIZES["max_sequences"], -1)

    def cell(slot: int, position: int) -> np.ndarray[Any, Any]:
        page = int(pages[slot, position // fake.PAGE])
        return Memory(at["kv"]).view(8 * fake.PAGE * page + 4 * (position % fake.PAGE), "float32", 1)

    for n in range(count):
        slot, position = int(request["slots"][n]), int(request["positions"][n])
        cell(slot, position)[0] = (int(request["tokens"][n]) * 31 + position * 7) % 101
    bias, w = Memory(at["params"] + BIAS).view(0, "float32", fake.VOCABULARY), np.zeros((16, COLUMNS))
    for unit, tile in enumerate(tiles(Memory(at["stream"]))):
        for row in range(4):
            w[unit // 2 * 8 + unit % 2 * 2 + row % 2 + row // 2 * 4] = tile[row]
    v, kept, cancelled = np.arange(fake.VOCABULARY), 0, int(request["cancel"][0])
    for r in range(rows):
        n = int(request["rows"][r])
        slot, position = int(request["slots"][n]), int(request["positions"][n])
        total = sum(int(cell(slot, p)[0]) for p in range(position + 1))
        row = Memory(at["activations"] + fake.LOGITS + r * fake.PITCH).view(0, "float32", fake.VOCABULARY)
        row[:] = total * (v + 3) % 97 + bias + w[: len(v), 0] + 2 * w[: len(v), 1]
        token, posted = int(row.argmax()), int(request["mailbox_count"][0])
        host["mailbox"][2 * posted : 2 * posted + 2] = slot, token
        request["mailbox_count"][0] = host["mailbox_count"][0] = posted + 1
        request["remaining"][r] -= 1
        stops = request["stops"][: int(request["n_stops"][0])]
        if token in stops or request["remaining"][r] <= 0 or cancelled:
            continue
        request["tokens"][kept], request["positions"][kept] = token, position + 1
        request["slots"][kept], request["rows"][kept] = slot, kept
        kept += 1
    request["n_tokens"][0] = request["n_rows"][0] = kept
    request["steps"][0] -= 1
    if request["steps"][0] <= 0 or not kept or cancelled:
        request["running"][0] = 0
