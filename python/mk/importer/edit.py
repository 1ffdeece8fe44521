# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""New operators in an exported graph."""

from __future__ import annotations

from typing import Any

import torch


class Editor:
    """Adds operators before `node`, with the shapes of their results, and with the module path of `node`."""

    def __init__(self, program: torch.export.ExportedProgram, node: torch.fx.Node) -> None:
        self._graph, self._node = program.graph, node
        self._inputs = {one.name: one for one in program.graph.nodes if one.op == "placeholder"}

    def input(self, name: str) -> torch.fx.Node:
        """An input of the step."""
        return self._inputs[name]

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
