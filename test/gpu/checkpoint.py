# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A GGUF file in two parts, read where mk's own way, which asks transformers for names and row orders, is not open."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mk.weights.gguf_file import GgufFile

from gpu.cases import Array
from gpu.suite import Failed, require

Layout = dict[str, tuple[str, Array]]  # by weight: the tensor in the file, and which of its rows each row is


def joined(parts: list[Path], sha256: str) -> bytes:
    """Raises Failed if a part is missing or of another run of `prepare`."""
    missing = [str(part) for part in parts if not part.exists()]
    require(not missing, f"{' and '.join(missing)}: missing; carry the folders one after the other")
    data = b"".join(part.read_bytes() for part in parts)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Failed(f"{' and '.join(map(str, parts))}: not two parts of one file; carry both again")
    return data


def find_layout(path: Path, weights: Mapping[str, Array]) -> Layout:
    """Where the rows of each weight lie in the file: found by their values, so no family of models is known here."""
    file = GgufFile(path)
    tensors: dict[tuple[tuple[int, ...], int], tuple[str, list[int]]] = {}
    for name in file.tensors:
        rows = _hashes(file.read(name))
        tensors[_key(file.tensors[name].shape, rows)] = name, rows
    layout: Layout = {}
    for name, value in weights.items():
        rows = _hashes(value)
        tensor, there = tensors[_key(value.shape, rows)]
        place = {row: index for index, row in enumerate(there)}
        order = np.arange(len(rows)) if rows == there else np.array([place[row] for row in rows])
        layout[name] = tensor, order.astype(np.int32)
    return layout


def save_layout(path: Path, layout: Layout) -> None:
    """One npz file."""
    names = np.array([[name, tensor] for name, (tensor, _) in layout.items()])
    orders = {str(number): order for number, (_, order) in enumerate(layout.values())}
    np.savez_compressed(path, names=names, **orders)


def load_layout(path: Path) -> Layout:
    """As saved."""
    with np.load(path) as file:
        return {str(n): (str(t), file[str(number)]) for number, (n, t) in enumerate(file["names"])}


def read(path: Path, layout: Layout) -> dict[str, Array]:
    """The weights, float32 by name. Needs the package gguf to dequantise them."""
    file = GgufFile(path)
    return {name: file.read(tensor)[order] for name, (tensor, order) in layout.items()}


def _hashes(value: Array) -> list[int]:
    return [hash(row.tobytes()) for row in np.asarray(value, np.float32)]


def _key(shape: tuple[int, ...], rows: list[int]) -> tuple[tuple[int, ...], int]:
    return tuple(shape), sum(rows)
