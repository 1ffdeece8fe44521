# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an exported step computes from the number of its tokens alone, found out by computing it.

A model's code numbers its tokens, cuts tables to their number and makes masks of them. None of that depends on weights
or tokens, so that it can be asked with numbers: for a sequence of this length, what is the value of this operator?
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

FARTHEST = 1 << 16  # positions of a model that does not say how many it has
PROBES = (1, 2, 5, 9, 14)  # lengths of sequences
_aten = torch.ops.aten
# What looks only at the shape and type of its first operand.
_LIKE = frozenset(
    {
        _aten.zeros_like.default,
        _aten.ones_like.default,
        _aten.full_like.default,
        _aten.empty_like.default,
        _aten.new_zeros.default,
        _aten.new_ones.default,
        _aten.new_full.default,
        _aten.new_empty.default,
    }
)
# The same of their second operand.
_AS = frozenset({_aten.type_as.default, _aten.to.other, _aten.expand_as.default, _aten.view_as.default})


def token_axes(node: torch.fx.Node, symbol: Any) -> list[int]:
    """The axes whose size depends on the number of tokens."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return []
    return [
        axis
        for axis, size in enumerate(value.shape)
        if isinstance(size, torch.SymInt) and symbol in size.node.expr.free_symbols
    ]


def symbol_of(program: torch.export.ExportedProgram, name: str) -> Any:
    """The symbol of the length of an input of the step."""
    node = next(node for node in program.graph.nodes if node.op == "placeholder" and node.name == name)
    (symbol,) = node.meta["val"].shape[0].node.expr.free_symbols
    return symbol


class Lengths:
    """Values of those operators of a graph that depend on nothing but the number of tokens.

    A text is taken to have no padding, so that comparing tokens with `pad`, the token for it, says that none is.
    `longest` is the length of the longest sequence, as far as the model says, or as is asked about.
    """

    def __init__(self, program: torch.export.ExportedProgram, pad: int | None, longest: int) -> None:
        self.longest = longest if longest > 0 else FARTHEST
        self.symbol = symbol_of(program, "tokens")
        self._pad = pad
        self._known: set[torch.fx.Node] = set()
        self._buffers: dict[torch.fx.Node, torch.Tensor] = {}
        self._found: dict[tuple[torch.fx.Node, int], Any] = {}
        values: dict[str, Any] = {**program.state_dict, **program.constants}
        kept = {
            spec.arg.name: values.get(spec.target or "")
            for spec in program.graph_signature.input_specs
            if spec.kind.name in ("BUFFER", "CONSTANT_TENSOR")
        }
        for node in program.graph.nodes:
            if node.op == "placeholder" and type(kept.get(node.name)) in (torch.Tensor, torch.nn.Buffer):
                self._buffers[node] = kept[node.name]
                self._known.add(node)
            elif node.op == "call_function" and self._depends_on_length_only(node):
                self._known.add(node)

    def knows(self, node: Any) -> bool:
        return node in self._known

    def learn(self, node: torch.fx.Node, value: torch.Tensor) -> None:
        """Takes note of a new buffer."""
        self._buffers[node] = value
        self._known.add(node)

    def at(self, node: torch.fx.Node, length: int) -> Any:
        """The value of a known operator for a sequence of `length` tokens."""
        return self.run(node, length, {})

    def probes(self, node: torch.fx.Node) -> Iterator[int]:
        """Short lengths, then the longest that the model has; where the operator fails for that, a shorter one."""
        yield from PROBES
        shorter = 0
        while shorter < self.longest:
            try:
                self.at(node, self.longest - shorter)
                yield self.longest - shorter
                return
            except (IndexError, RuntimeError):
                shorter = 2 * shorter + 1

    def run(self, node: Any, length: int, given: dict[torch.fx.Node, torch.Tensor]) -> Any:
        """The same of an operator that depends on those `given` besides."""
        if isinstance(node, list | tuple):
            return [self.run(one, length, given) for one in node]
        if not isinstance(node, torch.fx.Node):
            return node
        if node in given:
            return given[node]
        if node in self._buffers:
            return self._buffers[node]
        if node in self._known and (node, length) in self._found:
            return self._found[node, length]
        result = self._compute(node, length, given)
        if node in self._known:
            self._found[node, length] = result
        else:
            given[node] = result
        return result

    def forget(self) -> None:
        """Frees the values."""
        self._found.clear()

    def shape(self, node: torch.fx.Node, length: int) -> list[int]:
        """The shape of any operator's result for a sequence of `length` tokens."""
        return [self._size(size, length) for size in node.meta["val"].shape]

    def _size(self, size: Any, length: int) -> int:
        if isinstance(size, torch.SymInt):
            return int(size.node.expr.subs({self.symbol: length}))
        return int(size)

    def _compute(self, node: torch.fx.Node, length: int, given: dict[torch.fx.Node, torch.Tensor]) -> Any:
        if isinstance(node.meta.get("val"), torch.SymInt):
            return self._size(node.meta["val"], length)
        if self._compares_with_pad(node):
            return torch.ones(self.shape(node, length), dtype=torch.bool)
        arguments = []
        for place, argument in enumerate(node.args):
            only_shape = (node.target in _LIKE and place == 0) or (node.target in _AS and place == 1)
            if only_shape and isinstance(argument, torch.fx.Node) and not self.knows(argument):
                dtype = argument.meta["val"].dtype
                arguments.append(torch.zeros((), dtype=dtype).expand(self.shape(argument, length)))
                continue
            arguments.append(self.run(argument, length, given))
        keywords = {name: self.run(value, length, given) for name, value in node.kwargs.items()}
        return node.target(*arguments, **keywords)

    def _depends_on_length_only(self, node: torch.fx.Node) -> bool:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt):
            return value.node.expr.free_symbols <= {self.symbol}
        if self._compares_with_pad(node):
            return True
        tags = getattr(node.target, "tags", ())
        if not isinstance(node.target, torch._ops.OpOverload) and node.target.__name__ != "getitem":
            return False
        if torch.Tag.nondeterministic_seeded in tags or getattr(node.target, "namespace", "") == "mk":
            return False
        free = set()
        if node.target in _LIKE and node.args:
            free = {node.args[0]}
        elif node.target in _AS:
            free = {node.args[1]}
        return all(operand in self._known or operand in free for operand in node.all_input_nodes)

    def _compares_with_pad(self, node: torch.fx.Node) -> bool:
        """tokens != pad, with the tokens seen through views."""
        if node.target is not _aten.ne.Scalar or self._pad is None or node.args[1] != self._pad:
            return False
        source = node.args[0]
        while isinstance(source, torch.fx.Node) and source.target in (
            _aten.unsqueeze.default,
            _aten.view.default,
            _aten.reshape.default,
        ):
            source = source.args[0]
        return isinstance(source, torch.fx.Node) and source.op == "placeholder" and source.name == "tokens"
