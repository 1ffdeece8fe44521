# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rotary frequencies that depend on the length of a sequence, settled by the length that a program is made for.

Some models have one set of frequencies for sequences up to a length and another beyond it (LongRoPE,
arXiv:2402.13753), or change them as a sequence grows (dynamic NTK scaling). Their code looks at the largest position of
each call. A program cannot: a key stays in the cache as it was rotated, and the tokens of a step belong to sequences
of many lengths. What it knows is `max_length`. If that is within the length of the first set, so is every sequence; if
not, the set for longer sequences serves all.
"""

from __future__ import annotations

from typing import Any

from mk.errors import ImportModelError

BEYOND = "@"  # `NAME@LIMIT` is the value of the constant NAME for sequences of more than LIMIT tokens


def settle_rotations(model: Any) -> dict[str, dict[int, Any]]:
    """Makes the model's rotations static, and returns the frequencies that the length decides: by name, by limit.

    Raises ImportModelError, naming the module, for a rotation whose frequencies change in another way.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    found: dict[str, dict[int, Any]] = {}
    for path, module in model.named_modules():
        kind = getattr(module, "rope_type", None)
        kinds = list(kind.values()) if isinstance(kind, dict) else [kind]
        changing = [k for k in kinds if isinstance(k, str) and (k == "longrope" or "dynamic" in k)]
        if not changing:
            continue
        parameters = getattr(module.config, "rope_parameters", {})
        limit = int(parameters.get("original_max_position_embeddings") or 0)
        if isinstance(kind, dict) or (kind == "longrope" and not limit):
            raise ImportModelError(
                f"{path}: the rotary frequencies depend on the length of the sequence ({', '.join(changing)}) in a "
                "way that mk cannot settle"
            )
        if kind == "longrope":
            longer, _ = ROPE_INIT_FUNCTIONS[kind](module.config, None, seq_len=limit + 1)
            found[f"{path}.inv_freq"] = {0: module.inv_freq.detach().clone(), limit: longer}
        module.rope_type = (
            "default"  # as they are within max_position_embeddings, more than which no program takes
        )
    return found
