# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs of the compiler as Python sees them: parse text, run passes, look at the result, edit the text, go on.

    >>> from mk.ir import Module
    >>> module = Module.parse('''
    ...     func.func @step(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    ...       %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    ...       return %y : tensor<?x64xf32>
    ...     }''')
    >>> [op.name for op in module.walk()]
    ['builtin.module', 'func.func', 'mk.silu', 'func.return']
    >>> module.run("canonicalize,cse")          # any pipeline that mk-opt knows
    >>> module = Module.parse(str(module).replace("mk.silu", "mk.silu"))   # text in the middle, at any level

What goes wrong is a `PassError` with every message, its place in the text and the module of the model:

    >>> Module.parse("func.func @f() { mk.nothing }", name="mine.mlir")
    Traceback (most recent call last):
        ...
    mk.ir.diagnostics.PassError: mine.mlir:1:18: error: unregistered operation 'mk.nothing' found in dialect ('mk') ...
"""

from mk.ir.attributes import Attribute, Symbol, Type
from mk.ir.diagnostics import Diagnostic, PassError
from mk.ir.module import Module
from mk.ir.native import Block, Operation, Region, Value

__all__ = [
    "Attribute",
    "Block",
    "Diagnostic",
    "Module",
    "Operation",
    "PassError",
    "Region",
    "Symbol",
    "Type",
    "Value",
]
