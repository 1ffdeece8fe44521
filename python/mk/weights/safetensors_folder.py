# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""safetensors files as memory maps, sharded or not, without torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mk.errors import WeightError
from mk.weights.weights import Entry, Weights

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

try:
    import ml_dtypes

    _SMALL: dict[str, Any] = {
        "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E5M2": ml_dtypes.float8_e5m2,
    }
except ImportError:  # bits are enough for a GPU
    _SMALL = {"BF16": np.uint16}

_DTYPES: dict[str, Any] = {
    **_SMALL,
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def has_safetensors(folder: Path) -> bool:
    """Whether the folder holds weights in safetensors form."""
    return (folder / SINGLE).is_file() or (folder / INDEX).is_file() or any(folder.glob("*.safetensors"))


def folder_weights(folder: Path) -> Weights:
    """The weights of a folder: its model.safetensors, its shards, or its only safetensors file.

    Raises WeightError for a damaged or missing file.
    """
    if (folder / INDEX).is_file() and not (folder / SINGLE).is_file():
        return _sharded(folder)
    files = [folder / SINGLE] if (folder / SINGLE).is_file() else sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise WeightError(
            f"{folder}: holds {len(files)} safetensors files but no {INDEX}; give one file, or add the index"
        )
    return Weights(str(folder), safetensors_entries(files[0]))


def safetensors_weights(path: Path) -> Weights:
    """The weights of one file. Raises WeightError if it is damaged."""
    return Weights(str(path), safetensors_entries(path))


def safetensors_entries(path: Path) -> dict[str, Entry]:
    """The entries of one file; arrays are read-only views of the mapped file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightError(f"{path}: no such file; download the checkpoint again")
    try:
        with safe_open(path, framework="np"):  # checks the header and that its offsets fill the file exactly
            pass
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightError(
            f"{path}: not a whole safetensors file ({error}); download or save it again"
        ) from error
    data = np.memmap(path, np.uint8, mode="r", offset=0)[8 + size :]
    entries = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        if info["dtype"] not in _DTYPES:
            raise WeightError(f"{path}: {name} has the dtype {info['dtype']}, which mk does not read")
        begin, end = info["data_offsets"]
        dtype = np.dtype(_DTYPES[info["dtype"]])
        called = "bfloat16" if info["dtype"] == "BF16" else dtype.name
        entries[name] = _entry(data[begin:end], tuple(info["shape"]), dtype, called)
    return entries


def _entry(data: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: np.dtype[Any], called: str) -> Entry:
    assert data.nbytes == math.prod(shape) * dtype.itemsize
    return Entry(shape, called, lambda: np.asarray(data).view(dtype).reshape(shape))


def _sharded(folder: Path) -> Weights:
    try:
        shards: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        files = sorted(set(shards.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightError(
            f"{folder / INDEX}: not a safetensors index ({error}); download it again"
        ) from error
    entries: dict[str, Entry] = {}
    for file in files:
        if Path(file).name != file:
            raise WeightError(f"{folder / INDEX}: names {file}, which is not a file of its folder")
        found = safetensors_entries(folder / file)
        entries.update({name: entry for name, entry in found.items() if shards.get(name) == file})
    lost = [name for name in shards if name not in entries]
    if lost:
        raise WeightError(
            f"{folder}: the index lists {lost[0]} in {shards[lost[0]]}, which does not hold it; "
            "download the checkpoint again"
        )
    return Weights(str(folder), entries)
