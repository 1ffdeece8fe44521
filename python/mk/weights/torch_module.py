# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tensors of a torch module as arrays; the only file here that uses torch."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np
import torch

from mk.errors import WeightError
from mk.weights.weights import Entry, Weights


def module_weights(module: torch.nn.Module) -> Weights:
    """The module's parameters under every name they have; arrays share the memory of CPU tensors.

    Raises WeightError if a parameter has no values (meta device).
    """
    entries = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if parameter.is_meta:
            raise WeightError(f"{type(module).__name__}: {name} has no values, it is on the meta device")
        entries[name] = Entry(
            tuple(parameter.shape),
            str(parameter.dtype).removeprefix("torch."),
            functools.partial(tensor_array, parameter),
        )
    return Weights(type(module).__name__, entries)


def tensor_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """The tensor as an array of the same dtype, of ml_dtypes where numpy has none; no copy for a CPU tensor."""
    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
