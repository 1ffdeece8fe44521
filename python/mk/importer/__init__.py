# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Brings a Hugging Face causal LM in as raw torch dialect text. Only this part of mk needs torch and torch-mlir."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

from mk.importer.imported import AttentionFacts, ImportedModel, ModelFacts, Parameter

__all__ = ["AttentionFacts", "ImportedModel", "ModelFacts", "Parameter", "import_function", "import_model"]


def import_model(source: Any, *, progress: Callable[[str], None] | None = None) -> ImportedModel:
    """Imports an unmodified model; `source` itself is not changed and none of its weights is read.

    `source` is a PreTrainedModel, a folder with config.json (and safetensors), a `.gguf` file, a folder with one, or a
    PreTrainedConfig. `progress` is called with the name of each stage as it begins.

    Raises ImportModelError for what mk cannot import, naming the module path where there is one, and WeightError if
    the checkpoint does not hold what the model needs.
    """
    with _no_garbage_collection():
        return _import_model(source, progress)


def import_function(
    module: Any, inputs: Any, dynamic: Any = None, *, progress: Callable[[str], None] | None = None
) -> ImportedModel:
    """Imports a user's own tensor-in tensor-out `nn.Module`, which is not changed; see `mk.compile_module`.

    Raises ImportModelError for what mk cannot import, naming the module path where there is one.
    """
    with _no_garbage_collection():
        from mk.importer import huggingface
        from mk.importer.facts import constant_values
        from mk.importer.own_module import export_module
        from mk.importer.torch_text import print_step

        report = progress or (lambda stage: None)
        report("export")
        weights = huggingface.own_weights(module)
        exported, signature = export_module(huggingface.structure(module), inputs, dynamic)
        report("print")
        text = print_step(exported)
        parameters = {
            name: Parameter(shape, weights.dtype(name) if weights is not None else None)
            for name, shape in exported.shapes.items()
        }
        facts = ModelFacts(0, None, 0, {}, (), None, {}, type(module).__name__)
        constants = constant_values(exported)
        return ImportedModel(text, constants, parameters, exported.tied, facts, weights, signature=signature)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Nearly all that an import makes lives until its end, so looking for garbage on the way finds little: 1 s in 6."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _import_model(source: Any, progress: Callable[[str], None] | None) -> ImportedModel:
    from mk.importer import huggingface

    seconds: dict[str, float] = {}
    began, stage = time.perf_counter(), ""

    def enter(name: str) -> None:
        nonlocal began, stage
        now = time.perf_counter()
        if stage:
            seconds[stage] = now - began
        began, stage = now, name
        if name and progress is not None:
            progress(name)

    enter("load")
    model, weights, generation = huggingface.load(source)
    from mk.importer.checkpoint import match_weights
    from mk.importer.export import export_step
    from mk.importer.facts import constant_values, model_facts
    from mk.importer.parts import checkpoint_parts
    from mk.importer.torch_text import print_step

    enter("export")
    exported = export_step(model)
    enter("print")
    text = print_step(exported)
    enter("weights")
    parts = checkpoint_parts(model, exported.shapes)
    if weights is not None:
        weights = match_weights(weights, exported, model, parts)
    parameters = {
        name: Parameter(shape, weights.dtype(name) if weights is not None else None)
        for name, shape in exported.shapes.items()
    }
    facts = model_facts(model, exported, generation)
    constants = constant_values(exported)
    enter("")
    return ImportedModel(text, constants, parameters, exported.tied, facts, weights, seconds, parts)
