# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Brings a checkpoint into the order in which the workers read it: the `stream` and `params` arenas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mk import view
from mk.errors import PackageError, WeightError
from mk.runtime.native import ELEMENT_TYPES, Memory, Segment, Source, library, physical_cores

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest, Weight
    from mk.view import View

    Array = np.ndarray[Any, Any]
    Lookup = Callable[[str], Array]  # a weight by its name in the state dict

ELEMENT_BYTES = {"float32": 4, "bfloat16": 2}


def layout_hash(manifest: Manifest, arrays: Mapping[str, Array], constants: Mapping[str, Array]) -> str:
    """Names the packed form: equal for two programs that want the same weights at the same places."""
    arenas = manifest["arenas"]
    text = json.dumps(
        [manifest["weights"], manifest["target"]["lanes"], arenas["stream"], arenas["params"]], sort_keys=True
    )
    digest = hashlib.sha256(text.encode())
    for group in (arrays, constants):
        for name in sorted(group):
            if name != "table":
                digest.update(name.encode() + b"\0" + np.ascontiguousarray(group[name]).tobytes())
    return digest.hexdigest()


def pack(
    manifest: Manifest,
    arrays: Mapping[str, Array],
    lookup: Lookup,
    stream: Memory,
    params: Memory,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes every weight to its place; each source is read once, when its turn comes.

    `progress` is called with (bytes packed, bytes in all). Raises WeightError if a source has another shape than the
    program expects.
    """
    total, done = sum(packed_bytes(weight) for weight in manifest["weights"]), 0
    for weight in manifest["weights"]:
        sources = [
            _source(weight, name, lookup(name), seen)
            for name, seen in zip(weight["sources"], weight["views"], strict=True)
        ]
        check_rows(weight, sum(s.shape[0] for s in sources))
        if weight["layout"] == "rows":
            _pack_rows(weight, sources, params)
        else:
            offsets = arrays[f"tile_offsets/{weight['name']}"]
            _pack_tiles(weight, sources, offsets, stream, manifest["target"]["lanes"])
            if weight["gathered"]:
                assert weight["offset"] is not None
                params.view(weight["offset"], "int32", len(offsets))[:] = offsets
        done += packed_bytes(weight)
        if progress is not None:
            progress(done, total)


def packed_bytes(weight: Weight) -> int:
    """Bytes of the weight's values, without padding."""
    return int(np.prod(weight["shape"])) * ELEMENT_BYTES[weight["dtype"]]


def check_shape(weight: Weight, name: str, shape: Sequence[int]) -> None:
    """Raises WeightError unless a source of this shape can be among the rows of a weight."""
    if len(shape) != len(weight["shape"]) or list(shape[1:]) != weight["shape"][1:]:
        raise WeightError(
            f"{name} is {list(shape)}, the program expects {weight['shape'][1:] or 'a vector'} after "
            "the first dimension; is this another model's checkpoint?"
        )


def check_rows(weight: Weight, found: int) -> None:
    """Raises WeightError unless the sources have `found` rows together, as the weight has."""
    if found != weight["shape"][0]:
        raise WeightError(
            f"{_names(weight)}: {found} rows, the program expects {weight['shape'][0]}; is this another model's "
            "checkpoint?"
        )


def _source(weight: Weight, name: str, value: Array, seen: View | None) -> Array:
    if seen is None:
        check_shape(weight, name, value.shape)
    if value.dtype.name not in ELEMENT_TYPES:
        if value.dtype.name != "float64":
            raise WeightError(f"{name} is {value.dtype}; expected {', '.join(ELEMENT_TYPES)} or float64")
        value = value.astype(np.float32)
    value = np.ascontiguousarray(value)
    _check_finite(name, value)
    return value if seen is None else view.apply(seen, name, value)


# The exponent bits of a number: all set in infinities and NaN alone.
_EXPONENTS = {
    "float32": (np.uint32, 0x7F800000),
    "bfloat16": (np.uint16, 0x7F80),
    "float16": (np.uint16, 0x7C00),
}


def _check_finite(name: str, value: Array) -> None:
    """A checkpoint that holds NaN gives answers that look like answers: refuse it."""
    integers, exponent = _EXPONENTS[value.dtype.name]
    bits = value.reshape(-1).view(integers)
    for begin in range(0, bits.size, 1 << 20):
        if np.any((bits[begin : begin + (1 << 20)] & exponent) == exponent):
            raise WeightError(f"{name} holds a number that is not finite; the checkpoint is damaged")


def _pack_rows(weight: Weight, sources: Iterable[Array], params: Memory) -> None:
    assert weight["offset"] is not None
    address, size = params.address + weight["offset"], ELEMENT_BYTES[weight["dtype"]]
    for source in sources:
        library().mk_convert(
            source.ctypes.data,
            ELEMENT_TYPES[source.dtype.name],
            address,
            ELEMENT_TYPES[weight["dtype"]],
            source.size,
            physical_cores(),
        )
        address += source.size * size


def _pack_tiles(weight: Weight, sources: list[Array], offsets: Array, stream: Memory, lanes: int) -> None:
    native_sources = (Source * len(sources))(
        *(Source(s.ctypes.data, s.size // s.shape[-1], ELEMENT_TYPES[s.dtype.name]) for s in sources)
    )
    segments = (Segment * len(weight["segments"]))(
        *(
            Segment(s["base"], s["limit"], s["outer"], s["stride"], s["half"], s["partner"])
            for s in weight["segments"]
        )
    )
    offsets = np.ascontiguousarray(offsets, np.int64)
    failed = library().mk_pack_tiles(
        native_sources,
        len(sources),
        weight["shape"][-1],
        ELEMENT_TYPES[weight["dtype"]],
        lanes,
        segments,
        len(segments),
        offsets.ctypes.data,
        len(offsets),
        stream.address,
        physical_cores(),
    )
    if failed:
        raise PackageError(
            f"the packing plan of {_names(weight)} does not fit its shape; compile the model again"
        )


def _names(weight: Weight) -> str:
    return " + ".join(weight["sources"])
