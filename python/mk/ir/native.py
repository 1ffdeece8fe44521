# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The C++ side, python/bindings/Module*.cpp; native.pyi has its types."""

try:
    from mk.compiler._native._mlir import (
        Block,
        Module,
        Operation,
        Region,
        Value,
        abi,
        host_cpu,
        host_features,
        link_object,
        parse,
    )
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith("mk.compiler._native"):
        raise
    raise ModuleNotFoundError("mk's compiler is not built here: run ./dev build", name=error.name) from error

__all__ = [
    "Block",
    "Module",
    "Operation",
    "Region",
    "Value",
    "abi",
    "host_cpu",
    "host_features",
    "link_object",
    "parse",
]
