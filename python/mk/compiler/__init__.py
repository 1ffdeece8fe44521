# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles an imported model: options, the target, the levels on the way, and what comes out.

Importing this package is cheap; the C++ side is loaded by the first compile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mk.compiler.options import Options

if TYPE_CHECKING:
    from mk.compiler.driver import Compiled, compile_text, lower_text

__all__ = ["Compiled", "Options", "compile_text", "lower_text"]


def __getattr__(name: str) -> Any:
    if name in ("Compiled", "compile_text", "lower_text"):
        from mk.compiler import driver

        return getattr(driver, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
