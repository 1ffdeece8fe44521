# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The meaning of the `mk` dialect, executable: slow, small, and what every pass is checked against.

    >>> from mk.interpret import Interpreter, compare
    >>> interpreter = Interpreter(module, weights, max_sequences=4, max_length=256)
    >>> logits = interpreter.step(tokens, positions, slots, rows)      # keeps its own KV cache

It runs `@step` at every stage of the `mk` level, fused or not, and a `mk_task.program` by its families. So a pass is
checked by running the module before and after it:

    >>> before, after = Module.parse(text), Module.parse(text)
    >>> after.run("mk-fuse-residual")
    >>> assert compare(before, after).relative < 1e-6
"""

from mk.interpret.cache import Cache
from mk.interpret.compare import Difference, compare, ragged_steps, random_weights
from mk.interpret.interpreter import Interpreter
from mk.interpret.ops import run_block
from mk.interpret.sampling import Sampling
from mk.interpret.step import Step

__all__ = [
    "Cache",
    "Difference",
    "Interpreter",
    "Sampling",
    "Step",
    "compare",
    "ragged_steps",
    "random_weights",
    "run_block",
]
