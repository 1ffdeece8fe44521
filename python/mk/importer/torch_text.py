# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From an exported program to generic text of the raw torch dialect.

Text in generic form is what two versions of MLIR agree on: it needs no dialect on the reading side, and
operands are in the order of the ATen schema.
"""

from __future__ import annotations

from typing import Any

import torch
from torch_mlir import ir
from torch_mlir.dialects import torch as torch_dialect
from torch_mlir.extras.fx_importer import ContextCache, FxImporter, FxImporterHooks

from mk.errors import ImportModelError
from mk.importer.export import Exported
from mk.importer.paths import module_path, strip_prefix

LARGEST_LITERAL = 16  # elements; more than that is a weight, and weights stay out of the IR
OUTSIDE = "step"  # the location of operators that belong to no module


class _ModuleLocations(ContextCache):
    """Locations are module paths instead of Python stack traces."""

    def get_node_location(self, node: torch.fx.Node) -> ir.Location:
        return ir.Location.name(module_path(node) or OUTSIDE, context=self._c)


class _NoWeights(FxImporterHooks):
    def resolve_literal(self, importer: Any, literal: Any, info: Any) -> None:
        if isinstance(literal, torch.Tensor) and literal.numel() > LARGEST_LITERAL:
            raise ImportModelError(
                f"a constant tensor of {literal.numel()} elements is not a buffer of any module"
            )


def print_step(exported: Exported) -> str:
    """One function `@step` with `mk.kind` and `mk.name` on every argument.

    Raises ImportModelError for an operator that torch-mlir cannot print.
    """
    program = exported.program
    context = ir.Context()
    torch_dialect.register_dialect(context)
    importer = FxImporter(context=context, hooks=_NoWeights())
    importer._cc = _ModuleLocations(context, py_attr_tracker=importer._py_attr_tracker)
    try:
        function = importer.import_stateless_graph(program.graph, func_name="step")
    except ImportModelError:
        raise
    except Exception as error:
        raise ImportModelError(
            f"the exported program cannot be printed: {type(error).__name__}: {error}"
        ) from error
    signature = program.graph_signature
    if written := [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]:
        raise ImportModelError(
            f"{strip_prefix(written[0])}: the model changes it while it runs; mk cannot compile it"
        )
    attributes = []
    with context:
        for spec in program.graph_signature.input_specs:
            name = strip_prefix(spec.target) if spec.target else spec.arg.name
            kind = "input" if spec.arg.name in exported.inputs else _KINDS[spec.kind.name]
            name = exported.inputs.get(spec.arg.name, name)
            attributes.append(
                ir.DictAttr.get(
                    {
                        "mk.kind": ir.StringAttr.get(kind),
                        "mk.name": ir.StringAttr.get(exported.tied.get(name, name)),
                    }
                )
            )
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)
    importer.module.operation.verify()
    # The local scope prints locations and types in place: text that can be searched for a module.
    text: str = importer.module.operation.get_asm(
        print_generic_op_form=True, enable_debug_info=True, use_local_scope=True
    )
    return text


_KINDS = {
    "PARAMETER": "parameter",
    "BUFFER": "buffer",
    "CONSTANT_TENSOR": "constant",
    "USER_INPUT": "user_input",
}
