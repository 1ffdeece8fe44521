# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiler's messages and the error that carries them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mk.errors import CompileError


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
    """Text that does not parse, or a pass that failed. `diagnostics` has the messages in their order."""

    def __init__(self, summary: str, diagnostics: Sequence[Diagnostic] = ()) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join([*map(str, self.diagnostics), *([summary] if summary else [])]))
