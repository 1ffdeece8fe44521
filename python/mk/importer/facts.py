# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Facts about a model that its graph does not hold, and the values of its buffers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mk.errors import ImportModelError
from mk.importer.export import Exported
from mk.importer.imported import ModelFacts
from mk.importer.paths import module_path, strip_prefix
from mk.importer.rotations import BEYOND
from mk.importer.step import longest_sequence
from mk.weights.torch_module import tensor_array

SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens")


def model_facts(model: Any, exported: Exported, generation: Any) -> ModelFacts:
    """Collects them from the exported program where it knows them, and from the config where only that does.

    Raises ImportModelError for special tokens that are no token ids.
    """
    config = model.config.get_text_config()
    eos = getattr(generation, "eos_token_id", None)
    if eos is None:
        eos = getattr(config, "eos_token_id", None)
    bos = getattr(generation, "bos_token_id", None)
    if bos is None:
        bos = getattr(config, "bos_token_id", None)
    sampling = {name: getattr(generation, name, None) for name in SAMPLING}
    attention = dict(exported.trace.found)
    return ModelFacts(
        vocab_size=exported.vocab_size,
        max_length=min(filter(None, (longest_sequence(config), exported.trace.longest)), default=None),
        num_layers=len(attention),
        attention=attention,
        eos_token_ids=_token_ids("eos_token_id", eos, exported.vocab_size),
        bos_token_id=next(iter(_token_ids("bos_token_id", bos, exported.vocab_size)), None),
        generation={name: value for name, value in sampling.items() if value is not None},
        class_name=type(model).__name__,
    )


def _token_ids(name: str, value: Any, vocab_size: int) -> tuple[int, ...]:
    """The ids of a config's field; those outside the vocabulary, such as the -1 for none, are never drawn."""
    ids = [] if value is None else value if isinstance(value, list | tuple) else [value]
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int):
            raise ImportModelError(f"the config's {name} is {value!r}; expected a token id or a list of them")
    return tuple(one for one in ids if 0 <= one < vocab_size)


def _as_stored(where: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy; integers and booleans as the float32 that holds them exactly.

    Raises ImportModelError for integers that none holds, and for what is not finite.
    """
    if value.dtype.kind in "iub":
        if value.size and np.abs(value.astype(np.float64)).max() > 1 << 24:
            raise ImportModelError(f"{where} holds an integer beyond 2^24; mk computes in float32")
        return value.astype(np.float32)
    with np.errstate(over="ignore"):
        finite = bool(np.isfinite(value.astype(np.float32)).all())
    if not finite:
        raise ImportModelError(f"{where} holds a number that is not finite; mk cannot compile it")
    return value.copy()


def constant_values(exported: Exported) -> dict[str, np.ndarray[Any, Any]]:
    """The values of all buffers and constant tensors that are arguments of the step, by `mk.name`; see ImportedModel.

    Raises ImportModelError for one that has no value, or one of which the step reads what float32 does not hold.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensor

    program = exported.program
    values: dict[str, Any] = {**program.state_dict, **program.constants}
    readers = {node.name: list(node.users) for node in program.graph.nodes if node.op == "placeholder"}
    result = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind.name in ("BUFFER", "CONSTANT_TENSOR"):
            assert spec.target is not None
            value = values.get(spec.target)
            if not isinstance(value, torch.Tensor) or isinstance(value, FakeTensor) or value.is_meta:
                raise ImportModelError(f"{strip_prefix(spec.target)}: the value of this buffer is not known")
            name, read = strip_prefix(spec.target), readers.get(spec.arg.name)
            named = spec.kind.name == "BUFFER"
            if read:
                where = (
                    f"{name}: this buffer" if named else f"{module_path(read[0]) or 'the module'}: a constant"
                )
                result[name] = _as_stored(where, tensor_array(value))
            else:
                result[name] = tensor_array(value).copy()
    for name, values_by_limit in exported.variants.items():
        for limit, value in values_by_limit.items():
            result[f"{name}{BEYOND}{limit}"] = tensor_array(value).copy()
    return result
