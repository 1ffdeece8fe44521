# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GGUF tensors under Hugging Face names and in Hugging Face layout.

Both come from transformers: its name map, and its tensor processors, which undo what the conversion to GGUF did to
the values (the row order of rotary q and k projections, the offset of some norms, merged experts). Nothing here
knows a family of models.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mk.errors import WeightError
from mk.weights.gguf_file import GgufFile
from mk.weights.weights import Entry, Weights


def gguf_weights(file: GgufFile, model: Any = None, config: dict[str, Any] | None = None) -> Weights:
    """The weights of a GGUF file as float32, dequantised one at a time when asked for.

    `model` and `config` are what `mk.importer.gguf_model.gguf_model` returned for this file; they are made if absent.
    Raises WeightError for a damaged file or one that holds a tensor the model has no place for.
    """
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    path = file.path
    if model is None or config is None:
        from mk.importer.gguf_model import gguf_model

        model, config = gguf_model(file)
    architecture = file.text("general.architecture")
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=config)
    to_hf = get_gguf_hf_weights_map(_Names(model, model.base_model_prefix), processor)
    sources: dict[str, list[str]] = {}
    for name in file.tensors:
        target = to_hf.get(name) or to_hf.get(name.removesuffix(".weight"))
        if target is None:
            raise WeightError(
                f"{path}: the tensor {name} has no counterpart in the Hugging Face model, so leaving it out "
                "would change the results; use the safetensors checkpoint of this model"
            )
        sources.setdefault(target, []).append(name)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}

    def load(target: str) -> np.ndarray[Any, Any]:
        merged: dict[str, Any] = {"tensors": {}}
        for name in sources[target]:
            result = processor.process(
                weights=file.read(name), name=name, tensor_key_mapping=to_hf, parsed_parameters=merged
            )
            if result.name is not None:
                return np.ascontiguousarray(result.weights, np.float32)
        # A processor that merges several tensors into one puts it here instead of returning it.
        return np.ascontiguousarray(merged["tensors"][target].numpy(), np.float32)

    entries = {
        target: Entry(shapes[target], "float32", functools.partial(load, target))
        for target in sources
        if target in shapes
    }
    return Weights(str(path), entries)


class _Names:
    """A model as far as the name map of transformers looks at it: the names it and its base model give their tensors.

    The map is built anew for every submodule it is shown, which takes seconds for the hundreds of a whole model; GGUF
    tensors are named after one of these two only.
    """

    def __init__(self, model: Any, base: str = "") -> None:
        self.config = model.config
        self._model = model
        self._base = base

    def state_dict(self) -> dict[str, Any]:
        return dict(self._model.state_dict())

    def named_children(self) -> list[tuple[str, Any]]:
        child = getattr(self._model, self._base, None) if self._base else None
        return [] if child is None else [(self._base, _Names(child))]
