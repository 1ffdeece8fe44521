# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where weights come from: names of Hugging Face in a cache, mapped files, half precision, blocks of k-quants."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.errors import CompileError
from mk.weights import open_weights
from models import tiny_llama

Array = np.ndarray[Any, Any]


def _floats(data: bytes, at: int, count: int) -> list[float]:
    return [float(x) for x in np.frombuffer(data, "<f2", count, at)]


def q4_k(data: bytes) -> list[float]:
    """One block of 144 bytes, 256 numbers, as ggml describes it: scales and minima of 6 bits for each 32 numbers."""
    (d, least), scales, quants = _floats(data, 0, 2), data[4:16], data[16:144]
    result = []
    for j in range(8):
        if j < 4:
            scale, minimum = scales[j] & 63, scales[j + 4] & 63
        else:
            scale = (scales[j + 4] & 15) | (scales[j - 4] >> 6 << 4)
            minimum = (scales[j + 4] >> 4) | (scales[j] >> 6 << 4)
        for byte in quants[j // 2 * 32 :][:32]:
            result.append(d * scale * (byte >> 4 if j % 2 else byte & 15) - least * minimum)
    return result


def q6_k(data: bytes) -> list[float]:
    """One block of 210 bytes, 256 numbers: 4 bits in one place, 2 in another, and a scale for each 16."""
    low, high, scales = data[:128], data[128:192], struct.unpack("16b", data[192:208])
    (d,) = _floats(data, 208, 1)
    result = []
    for n in range(256):
        half, part, column = n // 128, n % 128 // 32, n % 32
        byte = low[64 * half + 32 * (part % 2) + column]
        bits = (byte >> 4 if part > 1 else byte & 15) | ((high[32 * half + column] >> 2 * part & 3) << 4)
        result.append(d * scales[8 * half + 2 * part + column // 16] * (bits - 32))
    return result


@pytest.mark.parametrize(("kind", "size", "formula"), [("Q4_K", 144, q4_k), ("Q6_K", 210, q6_k)])
def test_blocks_of_k_quants(tmp_path: Path, kind: str, size: int, formula: Any) -> None:
    import gguf
    from mk.weights.gguf_file import GgufFile

    generator = np.random.default_rng(0)
    data = generator.integers(0, 256, (3, 2 * size), np.uint8)
    halves = [0, 2] if kind == "Q4_K" else [208]
    for block in data.reshape(-1, size):  # finite scales
        for at in halves:
            block[at : at + 2] = np.frombuffer(np.float16(generator.normal()).tobytes(), np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("a", data, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = GgufFile(tmp_path / "x.gguf").read("a")
    wanted = np.array([formula(block.tobytes()) for block in data.reshape(-1, size)], np.float32).reshape(
        3, 512
    )
    assert found.shape == (3, 512) and found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


def in_cache(folder: Path, model: Any, name: str, **options: Any) -> None:
    """The model as huggingface-hub keeps it."""
    place = folder / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0123abcd")
    model.save_pretrained(place / "snapshots" / "0123abcd", **options)


def test_an_id_of_hugging_face_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    def no_network(*args: Any) -> None:
        raise AssertionError("mk opened a connection")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", no_network)
    model = tiny_llama().half()  # a checkpoint of float16, in shards
    in_cache(tmp_path, model, "someone/tiny", max_shard_size="60KB")
    shards = list((tmp_path / "models--someone--tiny/snapshots/0123abcd").glob("*.safetensors"))
    assert len(shards) > 2
    with mk.compile_module(
        "someone/tiny", dtype="float32", max_length=64, use_cache=False
    ).engine() as engine:
        found = engine.step([3, 4, 5], [0, 1, 2], [0, 0, 0])
    with torch.no_grad():
        wanted = model.float()(torch.tensor([[3, 4, 5]])).logits[0].numpy()
    assert np.abs(found - wanted).max() < 2e-4 * np.abs(wanted).max()
    with pytest.raises(
        CompileError, match="someone/else: neither a path nor a model in the Hugging Face cache"
    ):
        mk.compile_module("someone/else")


def test_files_are_mapped_and_read_when_asked(tmp_path: Path) -> None:
    rows, columns = 1 << 20, 1 << 10  # 2 GiB of float16 that the disk does not have
    header = {
        "big": {"dtype": "F16", "shape": [rows, columns], "data_offsets": [0, 2 * rows * columns]},
        "small": {
            "dtype": "BF16",
            "shape": [4],
            "data_offsets": [2 * rows * columns, 2 * rows * columns + 8],
        },
    }
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 2 * rows * columns + 8)
        file.seek(-8, os.SEEK_END)
        file.write(np.array([1, 2, 3, 4], np.float32).view(np.uint32).__rshift__(16).astype("<u2").tobytes())

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    weights = open_weights(tmp_path)
    assert weights.shape("big") == (rows, columns) and weights.dtype("small") == "bfloat16"
    assert weights["small"].astype(np.float32).tolist() == [1, 2, 3, 4]
    assert not weights["big"][rows // 2].any()
    assert resident() - before < 64 << 20


def test_packing_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MK_CACHE", "0")
    seen: list[tuple[int, int]] = []
    with mk.compile_module(tiny_llama(), max_length=64).engine(progress=lambda *done: seen.append(done)):
        pass
    assert len(seen) > 5 and seen == sorted(seen) and seen[-1][0] == seen[-1][1] > 0
    assert len({total for _, total in seen}) == 1
