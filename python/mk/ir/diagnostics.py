# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiler's messages and the error that carries them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mk.errors import CompileError

_PASS_FAILED = re.compile(r"the pass \S+ failed$")  # what the bindings add to a pass's own errors


@dataclass(frozen=True)
class Diagnostic:
    """One message. `severity` is "error", "warning", "note" or "remark"; `location` is `file:line:column` or empty.

    `module_path` is the module of the model that the message is about, empty if it names none.
    """

    severity: str
    message: str
    location: str
    module_path: str

    def __str__(self) -> str:
        where = dict.fromkeys(text for text in (self.location, self.module_path) if text)
        return "".join(f"{text}: " for text in where) + f"{self.severity}: {self.message}"


class PassError(CompileError):
    """Text that does not parse, or a pass that failed: one line, with the first error and what to do.

    `diagnostics` has all messages in their order and at their full length.
    """

    def __init__(self, summary: str, diagnostics: Sequence[Diagnostic] = ()) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("; ".join([*_first_error(self.diagnostics), *([summary] if summary else [])]))


def _first_error(diagnostics: Sequence[Diagnostic]) -> list[str]:
    errors = [index for index, one in enumerate(diagnostics) if one.severity == "error"]
    if not errors:
        return []
    first = errors[0]
    # MLIR's own note prints the operation, which may be a page long.
    notes = itertools.takewhile(lambda one: one.severity == "note", diagnostics[first + 1 :])
    texts = [
        diagnostics[first],
        *(one for one in notes if not one.message.startswith("see current operation")),
    ]
    more = [index for index in errors[1:] if not _PASS_FAILED.match(diagnostics[index].message)]
    return [" ".join(str(one).split()) for one in texts] + ([f"{len(more)} more like it"] if more else [])
