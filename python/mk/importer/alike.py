# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which pieces of a graph compute the same: layers are mostly alike, so what is asked of one is known of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class Pieces:
    """Numbers for pieces of a graph: two have the same number if they are the same operators of the same inputs."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, node: torch.fx.Node, ends: Mapping[torch.fx.Node, Any]) -> int:
        """Of what `node` is made of, up to parameters and inputs; of an end there is only what is said here."""
        made: dict[torch.fx.Node, int] = {end: self._of(("end", what)) for end, what in ends.items()}
        waiting = [node]
        while waiting:
            one = waiting[-1]
            missing = [operand for operand in one.all_input_nodes if operand not in made]
            if one in made or not missing:
                waiting.pop()
                made.setdefault(one, self._of(_key(one, made)))
            else:
                waiting += missing
        return made[node]

    def _of(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))


def _key(node: torch.fx.Node, made: Mapping[torch.fx.Node, int]) -> Any:
    if node.op != "call_function":
        return node
    arguments = torch.fx.node.map_arg((node.args, node.kwargs), lambda operand: f"<{made[operand]}>")
    return str(node.target), repr(arguments)
