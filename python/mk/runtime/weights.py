# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds the weights that an engine was asked to use, and takes their packed form from the cache where it can."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import WeightError
from mk.runtime import cache, packing
from mk.runtime.native import Memory
from mk.signature import digest

if TYPE_CHECKING:
    from mk.program import Facts, Program
    from mk.weights import Weights

RANDOM = "random"  # in place of weights: made up, to measure without a checkpoint


def fill_arenas(
    program: Program,
    weights: Any,
    stream: Memory,
    params: Memory,
    progress: Callable[[int, int], None] | None,
) -> bool:
    """Packs `weights` (None: the program's own) into the arenas; True if the cache had them packed.

    Raises WeightError if there are none, or if they do not fit.
    """
    if weights is None:
        weights = own_weights(program)
    if isinstance(weights, str) and weights == RANDOM:
        raise WeightError(
            'weights="random" is for programs of a GPU; give a folder, a file or a mapping of arrays'
        )
    # A file says when it changed; arrays in memory do not, so their packed form is not kept.
    place = (
        weights
        if isinstance(weights, str | os.PathLike)
        else program.source
        if weights is program.weights
        else None
    )
    identity = cache.files_identity(place) if place is not None else None
    name = None
    if identity is not None:
        layout = packing.layout_hash(program.manifest, program.arrays, program.constants)
        name = f"weights/{cache.key(identity, layout)}"
        if cache.load_packed(name, [stream, params]):
            return True
        stream.bytes[:] = 0
        params.bytes[:] = 0
    packing.pack(
        program.manifest, program.arrays, _lookup(program, weights), stream, params, progress=progress
    )
    if name is not None:
        cache.save_packed(name, [stream, params])
    return False


def own_weights(program: Program) -> Any:
    """What a program uses if nothing is given. Raises WeightError if there is nothing."""
    if program.weights is not None:
        return program.weights
    if not program.parameters():
        return {}
    if program.source is None:
        raise WeightError(
            "this program does not say where its weights are; give engine(weights=...) a folder, a file or a mapping "
            "of arrays"
        )
    if not os.path.exists(program.source):
        raise WeightError(
            f"the weights were in {program.source}, which is not there; give engine(weights=...) their place"
        )
    return program.source


def _lookup(program: Program, source: Any) -> Callable[[str], np.ndarray[Any, Any]]:
    from mk.weights import open_weights

    check_buffers(program, source)
    opened = joined(program, open_weights(source if program.parameters() else {}))

    def lookup(name: str) -> np.ndarray[Any, Any]:
        if name in program.constants:
            return program.constants[name]
        return opened.one_of(names_of(name, program.facts))

    return lookup


def check_buffers(program: Program, source: Any) -> None:
    """Raises WeightError if the weights bring a buffer with other values than those that the program took in."""
    from mk.weights import open_weights

    signature = program.facts.signature
    if signature is None or not signature.buffers:
        return
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.nn.Module):
        given: Mapping[str, Any] = dict(source.named_buffers(remove_duplicate=False))
    else:
        given = source if isinstance(source, Mapping) else open_weights(source)
    for name, made_with in signature.buffers.items():
        if name not in given:
            continue
        value = given[name]
        if torch is not None and isinstance(value, torch.Tensor):
            value = value.detach().cpu().double().numpy()
        if digest(np.asarray(value)) != made_with:
            raise WeightError(
                f"{name} has other values than the buffer that the program was compiled with; compile the module that "
                "has them"
            )


def joined(program: Program, opened: Weights) -> Weights:
    """The weights, with those that the program has in one piece and a file in several, such as experts."""
    shapes = {
        name: w["shape"]
        for w in program.manifest["weights"]
        if len(w["sources"]) == 1
        for name in w["sources"]
    }
    opened = opened.with_parts(program.facts.parts, shapes)
    bare = {name: [part.partition(".")[2] for part in parts] for name, parts in program.facts.parts.items()}
    return opened.with_parts(bare, shapes)


def names_of(name: str, facts: Facts) -> list[str]:
    """What the weights may call the parameter `name`: itself, a name tied to it, or, for a language model, either
    without the base prefix."""
    names = [name, *(alias for alias, canonical in facts.tied.items() if canonical == name)]
    if facts.signature is not None:  # names are those of the user's own module
        return names
    return names + [form for known in names if (form := known.partition(".")[2])]
