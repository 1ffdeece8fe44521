# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Numbers of 16 bits or fewer, which a module asks for by name, although its own are wider.

Programs hold activations in float32. For a model of bfloat16 that is more than it asks for; a module of float32 that
rounds on its way means the rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch

from mk.errors import ImportModelError
from mk.importer.paths import module_path


def parameter_dtypes(module: torch.nn.Module) -> frozenset[torch.dtype]:
    """Those of the parameters, before they are made float32."""
    return frozenset(parameter.dtype for parameter in module.parameters())


def check_precision(
    name: str,
    program: torch.export.ExportedProgram,
    own: Collection[torch.dtype],
    computed: Callable[[torch.fx.Node], bool] = lambda node: False,
) -> None:
    """Raises ImportModelError for an operator that rounds to less than float32, unless to one of the dtypes `own`.

    Run it when casts to the same dtype are gone. A result that is rounded last of all is rounded by its reader, and
    what torch itself has `computed` is as the model has it.
    """
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, torch.Tensor):
            continue
        narrow = value.is_floating_point() and value.dtype.itemsize < torch.float32.itemsize
        if (
            narrow
            and not computed(node)
            and value.dtype not in own
            and any(user.op != "output" for user in node.users)
        ):
            raise ImportModelError(
                f"{module_path(node) or name}: {node.target} rounds to {str(value.dtype).removeprefix('torch.')}; mk "
                "computes in float32"
            )
