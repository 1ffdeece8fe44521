# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds the weights that an engine was asked to use and brings them to the GPU."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import WeightError
from mk.runtime.gpu.arrays import DeviceArray, HostArray, RandomArray, Source, source_of
from mk.runtime.gpu.code import Code
from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.convert import convert
from mk.runtime.gpu.memory import DeviceMemory
from mk.runtime.gpu.packing import pack_tiles, write_rows
from mk.runtime.gpu.random import random_array
from mk.runtime.gpu.staging import Ring
from mk.runtime.packing import check_rows, check_shape, packed_bytes
from mk.runtime.weights import RANDOM, check_buffers, joined, names_of, own_weights
from mk.view import arrange, check_viewed

if TYPE_CHECKING:
    from mk.compiler.manifest import Weight
    from mk.program import Program
    from mk.view import View
    from mk.weights import Weights

Find = Callable[["Weight"], Sequence[Source]]


def fill(
    program: Program,
    weights: Any,
    seed: int,
    progress: Callable[[int, int], None] | None,
    gpu: Gpu,
    code: Code,
    stream: Any,
    memory: Mapping[str, DeviceMemory],
) -> None:
    """Packs `weights` (see `Program.engine`) into the arenas `stream` and `params`, which hold zeros.

    Each source is read once, when its turn comes; what is on the GPU already is used where it lies. `progress` is
    called with (bytes packed, bytes in all). Raises WeightError if there are none, or if they do not fit.
    """
    manifest = program.manifest
    find = _find(program, own_weights(program) if weights is None else weights, seed, gpu)
    total, done = sum(packed_bytes(weight) for weight in manifest["weights"]), 0
    with gpu:
        gpu.cuda("cuCtxSynchronize")  # whoever made arrays on the GPU may still be writing them
    with Ring(gpu, stream) as ring:
        places = {w["name"]: memory["params"].address + (w["offset"] or 0) for w in manifest["weights"]}
        # Vectors first: some scale the columns of matrices.
        for weight in sorted(manifest["weights"], key=lambda weight: weight["layout"] == "tiles"):
            sources = find(weight)
            for source in sources:
                check_shape(weight, source.name, source.shape)
            check_rows(weight, sum(source.shape[0] for source in sources))
            place = places[weight["name"]]
            if weight["layout"] == "tiles":
                offsets = np.ascontiguousarray(program.arrays[f"tile_offsets/{weight['name']}"], np.int64)
                lanes = manifest["target"]["lanes"]
                gain = places[weight["scale"]] if weight["scale"] else 0
                pack_tiles(weight, sources, offsets, lanes, ring, code, memory["stream"].address, gain)
                if weight["gathered"]:
                    memory["params"].write(weight["offset"] or 0, offsets.astype(np.int32))
            else:
                write_rows(weight, sources, ring, code, place)
            if any(isinstance(source, DeviceArray) for source in sources):
                _settle(gpu, stream)  # before their owners may go
            done += packed_bytes(weight)
            if progress is not None:
                progress(done, total)


def _settle(gpu: Gpu, stream: Any) -> None:
    with gpu:
        gpu.cuda("cuStreamSynchronize", stream)


def _find(program: Program, given: Any, seed: int, gpu: Gpu) -> Find:
    if isinstance(given, str) and given == RANDOM:
        return lambda weight: _made_up(program, weight, seed, gpu)
    check_buffers(program, given)
    opened = joined(program, _open(given if program.parameters() else {}))

    def one(name: str) -> Source:
        if name in program.constants:
            return source_of(name, program.constants[name], "", gpu)
        names = names_of(name, program.facts)
        here = [known for known in names if known in opened] or names[:1]
        dtype = opened.dtype(here[0]) if here[0] in opened else ""
        if all(isinstance(opened[known], np.ndarray) for known in here):
            return source_of(name, opened.one_of(here), dtype, gpu)
        return _one_of(name, [source_of(known, opened[known], dtype, gpu) for known in here], gpu)

    def find(weight: Weight) -> list[Source]:
        sources = zip(weight["sources"], weight["views"], strict=True)
        return [_viewed(one(name), view, gpu) for name, view in sources]

    return find


def _viewed(source: Source, view: View | None, gpu: Gpu) -> Source:
    """The source as it is seen: on the host, whence it goes to its place."""
    if view is None or isinstance(source, RandomArray):
        return source
    check_viewed(view, source.name, source.shape)
    host = source.download(gpu) if isinstance(source, DeviceArray) else source
    bits, dtype = arrange(view, host.bits), host.dtype
    if view["plus"]:
        sums = convert(bits, dtype, "float32").view(np.float32) + np.float32(view["plus"])
        bits, dtype = sums.view(np.uint32), "float32"
    return HostArray(source.name, bits, dtype)


def _one_of(name: str, sources: Sequence[Source], gpu: Gpu) -> Source:
    """As `Weights.one_of`, for arrays of which some lie on the GPU."""
    first = sources[0]
    for other in sources[1:]:
        if (
            isinstance(first, DeviceArray)
            and isinstance(other, DeviceArray)
            and first.address == other.address
        ):
            continue
        values = [s.download(gpu) if isinstance(s, DeviceArray) else s for s in (first, other)]
        left, right = (v.bits if isinstance(v, HostArray) else np.zeros(0, np.uint8) for v in values)
        if first.dtype != other.dtype or not np.array_equal(left, right):
            raise WeightError(f"{first.name} and {other.name} differ, but the model ties them as {name}")
    return first


def _open(given: Any) -> Weights:
    """Weights by name; those of a mapping or a module come as they are, wherever they lie."""
    from mk.weights import Entry, Weights, open_weights

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.nn.Module):
        values, source = dict(given.named_parameters(remove_duplicate=False)), type(given).__name__
    elif isinstance(given, Mapping) and not isinstance(given, Weights):
        values, source = dict(given), "the given arrays"
    else:
        return open_weights(given)
    return Weights(
        source,
        {
            str(n): Entry(tuple(getattr(v, "shape", ())), "", functools.partial(_itself, v))
            for n, v in values.items()
        },
    )


def _itself(value: Any) -> Any:
    return value


def _made_up(program: Program, weight: Weight, seed: int, gpu: Gpu) -> list[Source]:
    """Constants stay what they are. Of several parameters in one weight only the sum of their rows is known, so the
    first has them all."""
    fixed = {
        name: source_of(name, program.constants[name], "", gpu)
        for name in weight["sources"]
        if name in program.constants
    }
    rows = weight["shape"][0] - sum(source.shape[0] for source in fixed.values())
    found: list[Source] = []
    for name in weight["sources"]:
        if name in fixed:
            found.append(fixed[name])
        else:
            found.append(random_array(weight, name, rows, seed))
            rows = 0
    return found
