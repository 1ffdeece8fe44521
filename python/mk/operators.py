# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a custom operator means, said in PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from mk.errors import CompileError

Meaning = Callable[..., Any]
_F = TypeVar("_F", bound=Meaning)
_NAME = re.compile(r"\w+::\w+(\.\w+)?")
MEANINGS: dict[str, Meaning] = {}


def operator(name: str) -> Callable[[_F], _F]:
    """Registers what the operator `name` of `torch.library`, such as "mylib::swish", means to mk.

        >>> @mk.operator("mylib::swish")
        ... def swish(x, beta):
        ...     return x * torch.sigmoid(beta * x)

    The function takes the operator's arguments and returns its results, in operators of PyTorch that mk knows. It
    stands in place of the operator whenever a model or module is compiled, and is fused like what a model writes out.
    Raises CompileError for a name that is none, or a second meaning of one operator.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CompileError(f"{name!r} is no name of an operator; expected one like mylib::swish")

    def register(meaning: _F) -> _F:
        if not callable(meaning):
            raise CompileError(f"the meaning of {name} is a {type(meaning).__name__}; expected a function")
        known = MEANINGS.get(name)
        if known is not None and _place(known) != _place(
            meaning
        ):  # a cell or module that runs again is no second one
            raise CompileError(f"{name} has a meaning already, {known.__module__}.{known.__qualname__}")
        MEANINGS[name] = meaning
        return meaning

    return register


def _place(meaning: Meaning) -> tuple[str | None, str | None]:
    return getattr(meaning, "__module__", None), getattr(meaning, "__qualname__", None)
