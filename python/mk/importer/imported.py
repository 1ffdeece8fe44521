# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an import hands to the compiler; plain data, no PyTorch objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from mk.signature import Signature
    from mk.weights import Weights


@dataclass(frozen=True)
class AttentionFacts:
    """One attention operator: numbers of heads, their sizes in elements, and what the operator was called with.

    `window` is in tokens, 0 means no window; `softcap` 0.0 means none; `sinks`: each head has one more score that only
    adds to its denominator; `module` is the module path.
    """

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    scale: float
    window: int
    softcap: float
    sinks: bool
    module: str


@dataclass(frozen=True)
class ModelFacts:
    """What a runtime must know about the model beyond its graph.

    `attention` is keyed by the layer index that the attention operators carry. `max_length` is in tokens,
    None if the model states none. `generation` holds the model's own sampling defaults (temperature, top_k, ...),
    only those it sets. `class_name` is for reports; nothing may depend on it.
    """

    vocab_size: int
    max_length: int | None
    num_layers: int
    attention: dict[int, AttentionFacts]
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    generation: dict[str, Any]
    class_name: str


@dataclass(frozen=True)
class Parameter:
    """A parameter's shape and the dtype it has in the checkpoint (numpy or ml_dtypes name), None if there is none."""

    shape: tuple[int, ...]
    dtype: str | None


@dataclass
class ImportedModel:
    """A model as raw torch dialect text, without its weights.

    `text` is one function `@step(parameters..., buffers..., tokens, positions, slots, rows) -> logits` in generic form;
    every argument carries `mk.kind` and `mk.name`. `constants` are the values of arguments of kind "buffer" and
    "constant" by `mk.name`; one whose value depends on the length of a sequence also has `NAME@LIMIT`, its value for
    sequences of more than LIMIT tokens. `parameters` has canonical names only; `tied` maps every other name of a
    parameter to its canonical one, `parts` those that files may have in parts to their names. `weights` is None if the
    model was given without values.
    """

    text: str
    constants: dict[str, np.ndarray]
    parameters: dict[str, Parameter]
    tied: dict[str, str]
    config: ModelFacts
    weights: Weights | None
    seconds: dict[str, float] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    signature: Signature | None = None  # of a user's own module
