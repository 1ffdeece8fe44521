# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Names inside the exported step, as the model itself has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def module_path(node: torch.fx.Node) -> str:
    """The path of the innermost module that made `node`, as in the state dict; "" outside of the model."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(next(reversed(stack.values()))[0])
    if path.startswith("_"):  # torch's own marker for a node that no module made
        return ""
    return strip_prefix(path.removeprefix("L['self']."))


def strip_prefix(name: str) -> str:
    """A name without the wrapper `Step`, whose only child is called `model`."""
    return "" if name == "model" else name.removeprefix("model.")
