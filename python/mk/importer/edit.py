# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""New operators in an exported graph."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument


class Editor:
    """Adds operators before `node`, with the shapes of their results, and with the module path of `node`."""

    def __init__(self, program: torch.export.ExportedProgram, node: torch.fx.Node) -> None:
        self._graph, self._node = program.graph, node

    def input(self, name: str) -> torch.fx.Node:
        """An input of the step."""
        return next(one for one in self._graph.nodes if one.op == "placeholder" and one.name == name)

    def call(self, target: Any, *arguments: Any) -> torch.fx.Node:
        with self._graph.inserting_before(self._node):
            made = self._graph.call_function(target, arguments)

        def value(argument: Any) -> Any:
            if isinstance(argument, list | tuple):
                return [value(one) for one in argument]
            return argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument

        values = [value(argument) for argument in arguments]
        fake = made.all_input_nodes[0].meta["val"]
        with fake.fake_mode, torch.no_grad():
            made.meta["val"] = target(*values)
        made.meta["nn_module_stack"] = self._node.meta.get("nn_module_stack")
        return made

    def replace(self, by: torch.fx.Node, program: torch.export.ExportedProgram) -> None:
        """Lets every user of the node use `by`."""
        self._node.replace_all_uses_with(by)
        for output in program.graph_signature.output_specs:
            if output.arg.name == self._node.name:
                output.arg.name = by.name


def add_constant(program: torch.export.ExportedProgram, name: str, value: torch.Tensor) -> torch.fx.Node:
    """A new buffer of the program, which is in no checkpoint."""
    graph, signature = program.graph, program.graph_signature
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    place = next(i for i, spec in enumerate(signature.input_specs) if spec.kind is InputKind.USER_INPUT)
    argument = "b_" + name.replace(".", "_")
    with graph.inserting_before(inputs[place]):
        made = graph.placeholder(argument)
    fake = next(node.meta["val"].fake_mode for node in inputs if isinstance(node.meta.get("val"), FakeTensor))
    made.meta["val"] = fake.from_tensor(value, static_shapes=True)
    spec = InputSpec(InputKind.BUFFER, TensorArgument(made.name), name, persistent=False)
    signature.input_specs.insert(place, spec)
    program.constants[name] = value
    return made
