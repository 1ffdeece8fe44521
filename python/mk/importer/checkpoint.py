# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds the weights of an exported model in its checkpoint, whose names may differ a little."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mk.importer.export import Exported
from mk.weights import Weights


def match_weights(
    weights: Weights, exported: Exported, model: Any, parts: Mapping[str, Sequence[str]]
) -> Weights:
    """The weights under the canonical names of the parameters, and nothing else.

    A checkpoint may hold a tied parameter under its other name, may leave out the model's base prefix, and may have
    a parameter in `parts`.
    Raises WeightError if a parameter is missing or has another shape, or if the checkpoint has a weight that the
    model neither uses nor declares as expected; when it is read, if its names have different values.
    """
    prefix = f"{model.base_model_prefix}."
    weights = weights.with_parts(parts, exported.shapes)
    bare = {name: [part.removeprefix(prefix) for part in found] for name, found in parts.items()}
    weights = weights.with_parts(bare, exported.shapes)
    aliases: dict[str, list[str]] = {}
    for alias, canonical in exported.tied.items():
        aliases.setdefault(canonical, []).append(alias)
    names: dict[str, list[str]] = {}
    used: set[str] = set()
    for name in exported.shapes:
        candidates = [
            form for known in (name, *aliases.get(name, ())) for form in (known, known.removeprefix(prefix))
        ]
        used.update(candidates)
        names[name] = candidates
    chosen = weights.renamed(names)
    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    buffers = {form for name, _ in model.named_buffers() for form in (name, name.removeprefix(prefix))}
    left_over = [
        name
        for name in weights
        if name not in used
        and name not in buffers
        and not any(pattern.search(name) for pattern in ignored)
        # Frequencies that older versions of transformers saved; they follow from the config.
        and not name.endswith("rotary_emb.inv_freq")
    ]
    chosen.check(exported.shapes)
    if left_over:
        weights.check({name: weights.shape(name) for name in weights if name not in left_over})
    return chosen
