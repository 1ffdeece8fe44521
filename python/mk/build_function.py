# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a user's own module to a function that is called like it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mk.build import Progress, cache_entry, cached_program, compile_program, fingerprint
from mk.errors import CompileError
from mk.function import Function
from mk.runtime import cache

if TYPE_CHECKING:
    from mk.compiler import Options
    from mk.importer import ImportedModel
    from mk.signature import Signature


def compile_function(
    module: Any,
    inputs: Any,
    dynamic: Any,
    options: Mapping[str, Any],
    progress: Progress | None,
    use_cache: bool,
    dump: str | os.PathLike[str] | None,
) -> Function:
    """See `mk.compile_module` with `inputs`."""
    began = time.perf_counter()
    report = progress or (lambda phase: None)
    imported, made = import_sized(module, inputs, dynamic, options, report)
    chosen = dataclasses.asdict(made)
    entry = None
    if use_cache and dump is None:
        entry = cache_entry([fingerprint(imported)], chosen)
        found = cached_program(entry)
        if found is not None:
            found.source, found.weights = None, imported.weights
            return Function(found)
    program = compile_program(imported, chosen, None if dump is None else Path(dump), report, began)
    if entry is not None:
        cache.write(entry, program.save)
    return Function(program)


def import_sized(
    module: Any, inputs: Any, dynamic: Any, options: Mapping[str, Any], progress: Progress | None
) -> tuple[ImportedModel, Options]:
    """The import, and the options for the sizes that the inputs may have."""
    import torch

    from mk.compiler import Options
    from mk.compiler.target import GPUS

    if not isinstance(module, torch.nn.Module):
        raise CompileError(f"cannot compile a {type(module).__name__} with inputs; expected an nn.Module")
    options = {**options, "dtype": options.get("dtype") or _own_dtype(module, options.get("target"))}
    Options.of(**options)  # a mistake shows before the module is read
    if progress is not None:
        progress("load the importer")
    from mk.importer import import_function

    imported = import_function(module, inputs, dynamic, progress=progress)
    if options.get("target") in GPUS and imported.signature is not None and imported.signature.together:
        raise CompileError(
            f"{type(module).__name__}: decides by its data for all rows of a call at once; torch.cond is compiled for "
            f"a CPU only, not for {options['target']}"
        )
    return imported, _sized(imported, options)


_LARGEST_CALL = 1 << 13  # rows that a step is made for unasked


def _own_dtype(module: Any, target: Any) -> str:
    """What weights are stored as. A GPU has nothing but bfloat16 for them."""
    from mk.compiler.target import GPUS

    if target in GPUS:
        return "bfloat16"
    dtypes = {str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.is_floating_point()}
    return "bfloat16" if dtypes and dtypes <= {"bfloat16", "float16"} else "float32"


def _sized(imported: ImportedModel, options: Mapping[str, Any]) -> Options:
    """The options for the sizes that the inputs may have. Whole entries whose rows all see each other need one step; on
    a GPU several passes do, too."""
    from mk.compiler import Options

    signature = imported.signature
    assert signature is not None
    length, batch = signature.dims["length"], signature.dims.get("batch")
    if not signature.attends:
        sizes = {"max_length": 1, "max_sequences": 1}
    else:
        sizes = {
            "max_length": min(options.get("max_length", 2048), length.high),
            "max_sequences": min(options.get("max_sequences", 8), batch.high if batch else 1),
        }
        if length.low > sizes["max_length"]:
            raise CompileError(f"max_length is {sizes['max_length']}, less than the length of {length.low}")
    if signature.together:
        sizes |= _sizes_of_calls(signature, options, sizes)
    made = Options.of(**{**options, **sizes})
    assert made.max_tokens is not None
    if signature.whole and made.max_tokens < sizes["max_length"] and not made.on_gpu:
        if options.get("max_tokens") is not None:
            raise CompileError(
                f"option max_tokens is {made.max_tokens}; attention over whole entries needs a step of max_length, "
                f"{sizes['max_length']}"
            )
        sizes["max_tokens"] = sizes["max_length"]
    return Options.of(**{**options, **sizes})


def _sizes_of_calls(
    signature: Signature, options: Mapping[str, Any], sizes: Mapping[str, int]
) -> dict[str, int]:
    """A call is one step, if its data decides for all of it: steps of all rows that a call may have, within reason."""
    length, batch = signature.dims["length"], signature.dims.get("batch")
    entries = (batch.low, batch.high) if batch else (1, 1)
    least, most = entries[0] * length.low, min(entries[1] * length.high, signature.together)
    result = {}
    if least > signature.together:
        raise CompileError(
            f"the module decides for all rows of a call at once, which has at least {least}; what it sums up is "
            f"exact for at most {signature.together}"
        )
    if options.get("max_tokens") is None and (most <= _LARGEST_CALL or least > 512):
        result["max_tokens"] = max(512, most if most <= _LARGEST_CALL else least)
    elif options.get("max_tokens") is not None and options["max_tokens"] < least:
        raise CompileError(
            f"option max_tokens is {options['max_tokens']}; the module decides for all rows of a call at once, which "
            f"has at least {least}"
        )
    if signature.attends:
        result["max_sequences"] = max(sizes["max_sequences"], entries[0])
    return result
