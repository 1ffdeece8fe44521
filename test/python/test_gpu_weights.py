# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How weights come to the GPU, whatever holds them, on a driver that is not one (fake_cuda.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_gpu
import fake_program as fake
import ml_dtypes
import numpy as np
import pytest
import torch
from fake_cuda import FakeCuda
from fake_gpu import Memory
from mk.errors import WeightError
from mk.runtime.gpu import convert, driver, packing, staging
from safetensors.numpy import save_file


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch):
    cuda = fake_gpu.cuda()
    monkeypatch.setattr(driver, "bindings", lambda: cuda)
    return cuda


def _params(engine: Any, offset: int, dtype: str, count: int) -> Any:
    return Memory(engine._device.memory["params"].address).view(offset, dtype, count).copy()


def _tiles(engine: Any) -> Any:
    return fake_gpu.tiles(Memory(engine._device.memory["stream"].address)).copy()


def _expected_tiles(a: Any, b: Any) -> Any:
    w = np.concatenate([np.asarray(a, np.float32), np.asarray(b, np.float32)])
    rows = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, -1, -1], [-1, -1, -1, -1]]
    return np.where(np.array(rows)[..., None] < 0, 0, w[rows])


# ---------------------------------------------------------------------------------------------------------- arithmetic


def _reference_rows(segments: list[dict[str, int]], lanes: int) -> list[list[int]]:
    """TileMap::sourceRows, unit by unit."""
    units = []
    for s in segments:
        n = -(-s["half"] // lanes)
        for unit in range(s["outer"] * n):
            inner = unit % n * lanes
            a, valid = s["base"] + unit // n * s["stride"] + inner, min(lanes, s["half"] - inner)
            row = [-1] * (2 * lanes)
            for group in range(2):
                for lane in range(valid):
                    if a + group * s["partner"] + lane < s["limit"]:
                        row[group * lanes + lane] = a + group * s["partner"] + lane
            units.append(row)
    return units


@pytest.mark.parametrize("lanes", [2, 16])
def test_rows_of_units_are_those_of_the_compiler(lanes: int):
    names = ("base", "limit", "outer", "stride", "half", "partner")
    heads = dict(zip(names, (0, 64, 4, 16, 8, 8), strict=True))
    plain = dict(zip(names, (64, 75, 3, 2 * lanes, lanes, lanes), strict=True))
    partners = dict(zip(names, (75, 101, 1, 26, 13, 13), strict=True))
    segments: Any = [heads, plain, partners]
    np.testing.assert_array_equal(packing.unit_rows(segments, lanes), _reference_rows(segments, lanes))


def test_fragments_are_in_the_order_of_products():
    values = np.arange(2 * 70, dtype=np.uint16).reshape(2, 70)
    found = convert.fragments(values)
    assert found.shape == (2, 96)
    for c in range(70):
        p, e = c % 32 // 2, c % 2
        assert found[1, c // 32 * 32 + p % 4 * 8 + p // 4 * 2 + e] == values[1, c]
    assert np.count_nonzero(found[1]) == 70


@pytest.mark.parametrize("source", ["float32", "float16", "bfloat16"])
def test_conversion_rounds_as_ml_dtypes_does(source: str):
    kinds = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
    random = np.random.default_rng(0)
    values = (random.standard_normal(4096) * 10.0 ** random.integers(-6, 4, 4096)).astype(kinds[source])
    bits = values.view(convert.BITS[source])
    half = convert.convert(bits, source, "bfloat16")
    np.testing.assert_array_equal(half, values.astype(ml_dtypes.bfloat16).view(np.uint16))
    np.testing.assert_array_equal(
        convert.convert(bits, source, "float32").view(np.float32), values.astype(np.float32)
    )


# ------------------------------------------------------------------------------------------------------------- places


def test_weights_come_to_their_places(cuda: FakeCuda):
    progress: list[tuple[int, int]] = []
    given = fake_gpu.weights()
    with fake_gpu.program().engine(progress=lambda *args: progress.append(args)) as engine:
        np.testing.assert_array_equal(_tiles(engine), _expected_tiles(given["a.weight"], given["b.weight"]))
        np.testing.assert_array_equal(_params(engine, fake_gpu.BIAS, "float32", 10), given["bias"])
        gain = _params(engine, fake_gpu.GAIN, "uint16", 64)
        bits = given["gain"].astype(ml_dtypes.bfloat16).view(np.uint16)
        np.testing.assert_array_equal(gain, convert.fragments(bits))
        np.testing.assert_array_equal(_params(engine, fake_gpu.PLACES, "int32", 4), fake_gpu.OFFSETS)
    assert [done for done, _ in progress] == sorted({done for done, _ in progress})
    assert progress[-1][0] == progress[-1][1]


def test_large_weights_come_in_blocks_of_rows(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch):
    ring = staging.Ring.__init__
    monkeypatch.setattr(staging.Ring, "__init__", lambda self, gpu, stream: ring(self, gpu, stream, 352))
    given = fake_gpu.weights()
    with fake_gpu.program().engine() as engine:
        assert cuda.launched.count("mk_pack") == 4  # 6 float16 rows, then 4 of float32, at most 3 at a time
        np.testing.assert_array_equal(_tiles(engine), _expected_tiles(given["a.weight"], given["b.weight"]))
        np.testing.assert_array_equal(_params(engine, fake_gpu.BIAS, "float32", 10), given["bias"])


def test_a_checkpoint_is_read_by_threads(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(staging, "_PIECE", 3)
    given = fake_gpu.weights()
    saved = {**given, "a.weight": given["a.weight"].astype(ml_dtypes.bfloat16)}
    save_file(saved, tmp_path / "model.safetensors")
    with fake_gpu.program().engine(tmp_path) as engine:
        np.testing.assert_array_equal(_tiles(engine), _expected_tiles(given["a.weight"], given["b.weight"]))


# --------------------------------------------------------------------------------------------------------- other arrays


class Interface:
    """An array of a library that has `__cuda_array_interface__` alone."""

    def __init__(self, value: Any, typestr: str, cuda: FakeCuda, **fields: Any) -> None:
        self.value = value
        cuda.on_gpu.add(value.ctypes.data)
        self.__cuda_array_interface__ = {
            "shape": value.shape, "typestr": typestr, "data": (value.ctypes.data, False), "version": 3, **fields
        }  # fmt: skip


def test_tensors_of_torch_are_taken_as_they_are(cuda: FakeCuda):
    given = fake_gpu.weights()
    tensors: Any = {name: torch.from_numpy(value) for name, value in given.items()}
    tensors["b.weight"] = torch.nn.Parameter(tensors["b.weight"].bfloat16())
    tensors["bias"] = tensors["bias"].double()
    with fake_gpu.program().engine(tensors) as engine:
        np.testing.assert_array_equal(_tiles(engine), _expected_tiles(given["a.weight"], given["b.weight"]))
        np.testing.assert_array_equal(_params(engine, fake_gpu.BIAS, "float32", 10), given["bias"])


def test_arrays_on_the_gpu_are_used_where_they_lie(cuda: FakeCuda):
    given = fake_gpu.weights()
    on_gpu = {
        "a.weight": Interface(given["a.weight"], "<f2", cuda),
        "b.weight": Interface(given["b.weight"].astype(ml_dtypes.bfloat16), "<V2", cuda),
        "bias": Interface(given["bias"], "<f4", cuda),
        "gain": Interface(given["gain"], "<f4", cuda),
    }
    with fake_gpu.program().engine({**given, **on_gpu}) as engine:
        np.testing.assert_array_equal(_tiles(engine), _expected_tiles(given["a.weight"], given["b.weight"]))
        np.testing.assert_array_equal(_params(engine, fake_gpu.BIAS, "float32", 10), given["bias"])
        bits = given["gain"].astype(ml_dtypes.bfloat16).view(np.uint16)
        np.testing.assert_array_equal(_params(engine, fake_gpu.GAIN, "uint16", 64), convert.fragments(bits))


def test_arrays_that_cannot_be_used_are_refused(cuda: FakeCuda):
    given = fake_gpu.weights()
    b = given["b.weight"]
    elsewhere = Interface(b.copy(), "<f4", cuda)
    cuda.on_gpu.clear()
    bad: list[tuple[str, Any, str]] = [
        ("b.weight", elsewhere, "b.weight lies on GPU 7, but the program runs on GPU 0"),
        (
            "b.weight",
            Interface(b, "<f4", cuda, strides=(4, 16)),
            "b.weight: this array cannot be read: its strides",
        ),
        ("b.weight", Interface(b, "<i4", cuda), "b.weight is int32 on the GPU; expected float32"),
        ("b.weight", torch.zeros(2, 4).T, "b.weight: this array cannot be read: its strides"),
        ("b.weight", torch.zeros(4, 2, device="meta"), "b.weight: this array cannot be read"),
        ("b.weight", torch.zeros(4, 2, dtype=torch.int32), "b.weight is int32; expected float32"),
        ("b.weight", np.zeros((4, 2), np.int8), "b.weight is int8"),
        ("b.weight", np.zeros((4, 3), np.float32), r"b.weight is \[4, 3\]"),
        ("bias", np.zeros(9, np.float32), "bias: 9 rows, the program expects 10"),
        ("bias", np.full(10, np.nan, np.float32), "bias holds a number that is not finite"),
        ("a.weight", np.full((6, 2), np.inf, np.float16), "a.weight holds a number that is not finite"),
    ]
    for name, value, message in bad:
        with pytest.raises(WeightError, match=message):
            fake_gpu.program().engine({**given, name: value})


def test_a_weight_that_is_not_given_is_named(cuda: FakeCuda):
    given = fake_gpu.weights()
    del given["bias"]
    with pytest.raises(WeightError, match="the given arrays: no weight named bias"):
        fake_gpu.program().engine(given)


# -------------------------------------------------------------------------------------------------------------- random


def _random(cuda: FakeCuda, seed: int, **constants: Any) -> tuple[Any, Any, Any]:
    with fake_gpu.program(constants=constants).engine("random", seed=seed) as engine:
        return (
            _tiles(engine),
            _params(engine, fake_gpu.BIAS, "float32", 10),
            _params(engine, fake_gpu.GAIN, "uint16", 64),
        )


def test_random_weights_depend_on_the_seed_alone(cuda: FakeCuda):
    one, bias, gain = _random(cuda, 1)
    again, other = _random(cuda, 1), _random(cuda, 2)
    np.testing.assert_array_equal(one, again[0])
    assert (one != other[0]).any() and (bias != other[1]).any()
    present = one[_expected_tiles(np.ones((6, 2)), np.ones((4, 2))) > 0]
    assert len(present) == 20 and (abs(present) <= np.sqrt(3 / 2)).all() and present.std() > 0.4
    assert (abs(bias) < 0.1).all()
    values = (gain.astype(np.uint32) << 16).view(np.float32)
    assert sorted(values)[24] > 0.9 and values.max() < 1.1  # 40 of 64 near one


def test_random_weights_leave_constants_alone(cuda: FakeCuda):
    constant = np.full((6, 2), 3, np.float32)
    tiles, bias, _ = _random(cuda, 1, **{"a.weight": constant, "bias": np.arange(10, dtype=np.float32)})
    assert (tiles[:2, :2] == 3).all() and (tiles[2, :2] != 3).all()
    np.testing.assert_array_equal(bias, np.arange(10))


def test_random_weights_are_not_for_the_cpu():
    with pytest.raises(WeightError, match="is for programs of a GPU"):
        fake.program().engine("random")


# ------------------------------------------------------------------------------------------------------ what is needed


def test_only_numpy_and_safetensors_are_needed(cuda: FakeCuda, tmp_path: Path):
    """A GPU's program runs without the native runtime, the compiler, torch and ml_dtypes."""
    fake_gpu.program().save(tmp_path / "gpu.mkp")
    given = fake_gpu.weights()
    given["b.weight"] = given["b.weight"].astype(ml_dtypes.bfloat16)
    save_file(given, tmp_path / "model.safetensors")
    script = """
import sys
for name in ("ml_dtypes", "torch", "jinja2", "mk.runtime._native"):
    sys.modules[name] = None
import mk, mk.runtime.native, mk.runtime.gpu.driver
def absent(): raise AssertionError("the native runtime is loaded")
mk.runtime.native.library = absent
import mk.runtime.packing, mk.runtime.validate, mk.runtime.cache
for module in (mk.runtime.packing, mk.runtime.validate, mk.runtime.cache):
    module.library = absent
sys.path.insert(0, sys.argv[1])
import fake_cuda, numpy as np
kernels = {name: (lambda *args: None, []) for name in ("mk_main", "mk_pack", "mk_random")}
import ctypes
def pack(source, map, offsets, stream, units, columns, kind, blocks): packed.append(kind)
packed = []
kernels["mk_pack"] = (pack, [ctypes.c_uint64] * 4 + [ctypes.c_int64] * 4)
kernels["mk_main"] = (lambda context: None, [ctypes.c_uint64 * 18])
cuda = fake_cuda.FakeCuda(kernels)
mk.runtime.gpu.driver.bindings = lambda: cuda
with mk.load(sys.argv[2] + "/gpu.mkp").engine(sys.argv[2]) as engine:
    assert engine.step([1], [0], [0]).shape == (1, 10)
    assert list(engine.generate([1], max_new_tokens=2)) == []
assert packed == [2, 1], packed
bad = [m for m in sys.modules if m.startswith(("mk.compiler", "mk.importer", "mk.ir", "cuda"))]
assert not bad, bad
"""
    subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)], check=True)
