# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Refuses mixtures of experts by name, before their routing becomes dozens of operators that say nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from mk.errors import ImportModelError

INTERFACE = "mk"
_paths: Mapping[int, str] = {}


def use_mk_experts(model: Any) -> None:
    """Routes the model's experts, where it has any, to a function that raises ImportModelError with their path."""
    global _paths
    _register()
    _paths = {id(module): name for name, module in model.named_modules()}
    model.set_experts_implementation(INTERFACE)


@functools.cache
def _register() -> None:
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(INTERFACE, _forward)


def _forward(module: Any, *args: Any, **kwargs: Any) -> Any:
    where = _paths.get(id(module), type(module).__name__)
    raise ImportModelError(f"{where}: mk cannot compile a mixture of experts")
