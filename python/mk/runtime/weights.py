# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds the weights that an engine was asked to use, and takes their packed form from the cache where it can."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import WeightError
from mk.runtime import cache, packing
from mk.runtime.native import Memory

if TYPE_CHECKING:
    from mk.program import Program
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

    opened = joined(program, open_weights(source if program.parameters() else {}))

    def lookup(name: str) -> np.ndarray[Any, Any]:
        if name in program.constants:
            return program.constants[name]
        if program.facts.signature is not None:  # its names are those of the user's own module
            return opened.one_of(
                [name, *(k for k, canonical in program.facts.tied.items() if canonical == name)]
            )
        return opened.one_of(names_of(name, program.facts.tied))

    return lookup


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


def names_of(name: str, tied: Mapping[str, str]) -> list[str]:
    """What a checkpoint may call the parameter `name`: itself, a name tied to it, or either without the base prefix."""
    names = [name, *(alias for alias, canonical in tied.items() if canonical == name)]
    return names + [form for known in names if (form := known.partition(".")[2])]
