# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""mk compiles a whole language model into one persistent program.

```python
program = mk.compile_module("path/of/a/model")
program.save("model.mkp")
with mk.load("model.mkp").engine() as engine:
    logits = engine.step(tokens=[1, 2, 3], positions=[0, 1, 2], slots=[0, 0, 0])
print(mk.LLM("model.mkp").generate("Once upon a time"))
```

Every name is loaded when it is first used: importing mk costs nothing, and running a package needs neither the
compiler nor PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mk import errors as errors
    from mk import interpret as interpret
    from mk import ir as ir
    from mk import schedule as schedule
    from mk import weights as weights
    from mk.build import compile_module as compile_module
    from mk.errors import CompileError as CompileError
    from mk.errors import DeviceStalled as DeviceStalled
    from mk.errors import ImportModelError as ImportModelError
    from mk.errors import InputError as InputError
    from mk.errors import MkError as MkError
    from mk.errors import PackageError as PackageError
    from mk.errors import WeightError as WeightError
    from mk.function import Function as Function
    from mk.levels import compile_ir as compile_ir
    from mk.levels import lower_module as lower_module
    from mk.llm import LLM as LLM
    from mk.operators import operator as operator
    from mk.program import Program as Program
    from mk.program import load as load

_MODULES = ("errors", "interpret", "ir", "schedule", "weights")
_ERRORS = (
    "MkError",
    "CompileError",
    "ImportModelError",
    "PackageError",
    "WeightError",
    "InputError",
    "DeviceStalled",
)
_HOMES = dict.fromkeys(_ERRORS, "mk.errors") | {
    "compile_module": "mk.build",
    "compile_ir": "mk.levels",
    "lower_module": "mk.levels",
    "load": "mk.program",
    "Program": "mk.program",
    "LLM": "mk.llm",
    "Function": "mk.function",
    "operator": "mk.operators",
}
__all__ = [
    "LLM",
    "CompileError",
    "DeviceStalled",
    "Function",
    "ImportModelError",
    "InputError",
    "MkError",
    "PackageError",
    "Program",
    "WeightError",
    "__version__",
    "compile_ir",
    "compile_module",
    "errors",
    "interpret",
    "ir",
    "load",
    "lower_module",
    "operator",
    "schedule",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"mk.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mk' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
