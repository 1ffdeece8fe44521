# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the Python code of a model asks about sizes while it is traced.

torch.export keeps one answer to `if n == 1:`, that for the example, and takes sizes of one for sizes like others. So
whoever exports a model has to know what was asked, and for which sizes the answer is another.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from sympy.logic.boolalg import Boolean

from mk.errors import ImportModelError
from mk.importer.lengths import symbol_of
from mk.importer.paths import module_path

# torch's own code looks for sizes of one on its own account, and means the same there.
_INTERNAL = tuple(os.path.join(os.path.dirname(torch.__file__), name) for name in ("_", "fx", "utils"))
# How Python code gets an answer: as a condition, or as a number.
_ANSWERS = (
    (torch.SymBool, "__bool__"),
    (torch.SymInt, "__bool__"),
    (torch.SymFloat, "__bool__"),
    (torch.SymInt, "__int__"),
    (torch.SymInt, "__index__"),
    (torch.SymFloat, "__float__"),
)


@dataclass(frozen=True)
class Question:
    """A condition on sizes, the answer that it got, and the module whose code asked, "" if none did."""

    condition: Any  # of sympy
    answer: bool
    where: str


@contextlib.contextmanager
def noting(asked: list[Question], path: Callable[[Any], str], besides: Sequence[str] = ()) -> Iterator[None]:
    """Notes the comparisons of sizes that Python code makes, but for torch's own and that in folders `besides`.

    `path` gives a module's path, "" for what is no module.
    """
    passed = (*_INTERNAL, *besides)

    def noting_method(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def noted(self: Any) -> Any:
            frame = sys._getframe(1)
            expr = self.node.expr  # which is a number as soon as it is taken for one
            answer = method(self)
            if not frame.f_code.co_filename.startswith(passed):
                asked.append(_question(expr, answer, _module(frame, path)))
            return answer

        return noted

    methods = {(kind, name): getattr(kind, name) for kind, name in _ANSWERS}
    for (kind, name), method in methods.items():
        setattr(kind, name, noting_method(method))
    try:
        yield
    finally:
        for (kind, name), method in methods.items():
            setattr(kind, name, method)


def _question(expr: Any, answer: Any, where: str) -> Question:
    if isinstance(answer, bool):
        return Question(expr if isinstance(expr, Boolean) else sympy.Ne(expr, 0), answer, where)
    return Question(sympy.Eq(expr, answer), True, where)  # the size itself, as a number


def _module(frame: Any, path: Callable[[Any], str]) -> str:
    """The innermost module in whose method the frame is, or is called from."""
    while frame is not None:
        if found := path(frame.f_locals.get("self")):
            return found
        frame = frame.f_back
    return ""


def check_answers(
    name: str, program: torch.export.ExportedProgram, asked: Sequence[Question], longest: int
) -> None:
    """Raises ImportModelError where the code of model `name` asks what has another answer for another number of tokens.

    torch.export itself refuses what changes between two tokens and one less than the longest sequence.
    """
    tokens, rows = symbol_of(program, "tokens"), symbol_of(program, "rows")
    lengths = [1, 2, 3, 64, *([longest] if longest > 0 else [])]
    for question in asked:
        for length in lengths:
            for kept in {1, length}:
                answer = question.condition.subs({tokens: length, rows: kept})
                if bool(answer) != question.answer:
                    many = "1 token" if length == 1 else f"{length} tokens"
                    raise ImportModelError(
                        f"{question.where or name}: its code takes another way for {many} "
                        f"({question.condition.subs({tokens: sympy.Symbol('n'), rows: sympy.Symbol('rows')})}); a step "
                        "has sequences of any lengths"
                    )


def asked_by(asked: Sequence[Question]) -> str:
    """The first module whose code asks what depends on a size, "" if none does."""
    for question in asked:
        answers = set()
        for size in (*range(1, 10), 64, 1000):
            answers.add(question.condition.subs(dict.fromkeys(question.condition.free_symbols, size)))
        if len(answers) > 1 and question.where:
            return question.where
    return ""


def refuse_squeezes(program: torch.export.ExportedProgram) -> None:
    """Raises ImportModelError for a squeeze of rows, which is one only where there is one row."""
    for node in program.graph.nodes:
        if node.op != "call_function" or not str(node.target).startswith("aten.squeeze."):
            continue
        shape = node.args[0].meta["val"].shape
        dims = node.args[1] if len(node.args) > 1 else range(len(shape))
        dropped = [shape[dim] for dim in (dims if isinstance(dims, list | tuple | range) else [dims])]
        if any(isinstance(size, torch.SymInt) for size in dropped):
            raise ImportModelError(
                f"{module_path(node) or 'the module'}: {node.target}: it drops dimensions that may be rows, if "
                "there is one"
            )
