# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GGUF files: their tensors under GGUF's own names, dequantised to float32.

The header is read here and not by gguf.GGUFReader, because that reader trusts every length in the file. Here each
one is compared with the file's size before it is used.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mk.errors import WeightError

READABLE = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K")
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY, _UINT32 = 8, 9, 4
_MOST_DIMENSIONS = 4


@dataclass(frozen=True)
class GgufTensor:
    """A tensor in the file: `shape` in numpy's order, in elements; `offset`, from the start, and `size` in bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size: int


class GgufFile:
    """The header of a GGUF file, checked, and access to its tensors. Raises WeightError if the file is damaged.

    `tokenizer_arrays` are the arrays of the vocabulary in the metadata: their sizes by their offset, both in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: list[str] = []
        self.tokenizer_arrays: dict[int, int] = {}
        self._texts: dict[str, str] = {}
        self.tensors: dict[str, GgufTensor] = {}
        self._alignment = 32
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise WeightError(f"{path}: cannot be read ({error})") from error
        self._at = 0
        try:
            self._read_header()
        except UnicodeDecodeError as error:
            raise self._damaged("a name is not text") from error

    def text(self, key: str) -> str:
        """The metadata string `key`. Raises WeightError if there is none."""
        if key not in self._texts:
            raise WeightError(f"{self.path}: the metadata has no {key}; convert the model to GGUF again")
        return self._texts[key]

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor as float32 (dequantised), C-contiguous."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize, quant_shape_to_byte_shape

        tensor = self.tensors[name]
        kind = GGMLQuantizationType[tensor.type]
        data = np.frombuffer(self._map, np.uint8, tensor.size, tensor.offset)
        if tensor.type == "F32":
            return data.view(np.float32).reshape(tensor.shape)
        if tensor.type == "F16":
            return data.view(np.float16).reshape(tensor.shape).astype(np.float32)
        values = dequantize(data.reshape(quant_shape_to_byte_shape(tensor.shape, kind)), kind)
        return np.ascontiguousarray(values, np.float32).reshape(tensor.shape)

    def _read_header(self) -> None:
        if self._take(4) != b"GGUF":
            raise WeightError(f"{self.path}: not a GGUF file")
        version = self._number("<I")
        if version not in (2, 3):
            raise WeightError(
                f"{self.path}: GGUF version {version} (or byte order) is not supported, only 2 and 3"
            )
        tensor_count, key_count = self._number("<Q"), self._number("<Q")
        for _ in range(key_count):
            key = self._string()
            kind = self._number("<I")
            if key == "general.alignment" and kind == _UINT32:
                self._alignment = self._number("<I")
                if self._alignment <= 0 or self._alignment & (self._alignment - 1):
                    raise self._damaged(f"alignment {self._alignment}")
            elif kind == _STRING:
                self._texts[key] = self._string()
            else:
                begin = self._at
                self._skip(kind)
                if kind == _ARRAY and key.startswith("tokenizer."):
                    self.tokenizer_arrays[begin] = self._at - begin
            self.keys.append(key)
        found = [self._tensor_info() for _ in range(tensor_count)]
        start = -(-self._at // self._alignment) * self._alignment
        for name, shape, kind, offset in found:
            self._add(name, shape, kind, start + offset)

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        dimensions = self._number("<I")
        if dimensions > _MOST_DIMENSIONS:
            raise self._damaged(f"{name} has {dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
        return name, shape, self._number("<I"), self._number("<Q")

    def _add(self, name: str, shape: tuple[int, ...], kind: int, offset: int) -> None:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            quantization = GGMLQuantizationType(kind)
            block, block_bytes = GGML_QUANT_SIZES[quantization]
        except (ValueError, KeyError):
            raise self._damaged(f"{name} has the unknown type {kind}") from None
        if quantization.name not in READABLE:
            raise WeightError(
                f"{self.path}: {name} is {quantization.name}; mk reads {', '.join(READABLE)}, so take "
                "another quantisation of this model"
            )
        elements = math.prod(shape)
        size = elements // block * block_bytes
        if name in self.tensors or (shape and shape[-1] % block) or offset + size > len(self._map):
            raise self._damaged(f"{name} ends at byte {offset + size} of {len(self._map)}")
        self.tensors[name] = GgufTensor(name, shape, quantization.name, offset, size)

    def _skip(self, kind: int, depth: int = 0) -> None:
        if kind in _SCALAR_BYTES:
            self._take(_SCALAR_BYTES[kind])
        elif kind == _STRING:
            self._take(self._number("<Q"))
        elif kind == _ARRAY and depth < 2:
            inner, count = self._number("<I"), self._number("<Q")
            if inner in _SCALAR_BYTES:
                self._take(count * _SCALAR_BYTES[inner])
                return
            if inner == _STRING:
                self._skip_strings(count)
                return
            for _ in range(count):
                self._skip(inner, depth + 1)
        else:
            raise self._damaged(f"unknown metadata type {kind}")

    def _skip_strings(self, count: int) -> None:
        # A vocabulary and its merges: some hundred thousand strings, so this loop is kept bare.
        at, end, data, unpack = self._at, len(self._map), self._map, struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > end:
                break
            at += 8 + unpack(data, at)[0]
        else:
            self._take(at - self._at)
            return
        raise self._damaged("the header ends early")

    def _string(self) -> str:
        return self._take(self._number("<Q")).decode()

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _take(self, count: int) -> bytes:
        if count > len(self._map) - self._at:
            raise self._damaged("the header ends early")
        self._at += count
        return self._map[self._at - count : self._at]

    def _damaged(self, what: str) -> WeightError:
        return WeightError(f"{self.path}: the file is truncated or damaged ({what}); download it again")
