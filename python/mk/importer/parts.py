# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which tensors of a checkpoint a parameter is made of: files keep experts one by one, models all in one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def checkpoint_parts(model: Any, shapes: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
    """For parameters that files of the model have under another name or in parts: the names whose rows, one below the
    other, are the rows of the parameter.

    transformers knows how to take a model's state apart when it saves it. It is given numbers of rows instead of
    weights, and these say where each row went. What does not keep rows whole and in order is left out, as are models
    without a parameter of three dimensions.
    """
    if all(len(shape) < 3 for shape in shapes.values()):
        return {}
    import torch
    from torch.utils._python_dispatch import _disable_current_modes
    from transformers.core_model_loading import revert_weight_conversion

    first, names = 0, sorted(shapes)
    starts, state = [], {}
    with _disable_current_modes():
        for name in names:
            rows = list(shapes[name][:-1]) or list(shapes[name])
            count = int(np.prod(rows))
            numbers = torch.arange(first, first + count, dtype=torch.int64).reshape(rows)
            state[name] = numbers[..., None] if len(shapes[name]) > 1 else numbers
            starts.append(first)
            first += count
        saved = {
            name: tensor.numpy().reshape(-1)
            for name, tensor in revert_weight_conversion(model, state).items()
        }

    parts: dict[str, list[tuple[int, int, str]]] = {}
    for part, numbers in saved.items():
        if len(numbers) and np.array_equal(numbers, np.arange(numbers[0], numbers[0] + len(numbers))):
            place = int(np.searchsorted(starts, numbers[0], side="right")) - 1
            parts.setdefault(names[place], []).append((int(numbers[0]), len(numbers), part))
    result = {}
    for place, name in enumerate(names):
        found = sorted(parts.get(name, []))
        end = starts[place + 1] if place + 1 < len(starts) else first
        bounds = [begin for begin, _, _ in found] + [end]
        whole = bool(found) and bounds[0] == starts[place]
        whole = whole and all(
            begin + count == next for (begin, count, _), next in zip(found, bounds[1:], strict=True)
        )
        if whole and [part for _, _, part in found] != [name]:
            result[name] = [part for _, _, part in found]
    return result
