# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Refuses a config whose numbers make no model, before anything is built from it: transformers would allocate first,
divide by zero, or go on with NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mk.errors import ImportModelError

# The names that transformers gives to sizes (a config maps its own names to them), with the least and the most.
_SIZES = {
    "num_hidden_layers": (1, 10_000),
    "num_attention_heads": (1, 1 << 16),
    "num_key_value_heads": (1, 1 << 16),
    "hidden_size": (1, 1 << 20),
    "head_dim": (1, 1 << 16),
    "vocab_size": (1, 1 << 27),
    "max_position_embeddings": (1, (1 << 31) - 1),
    "intermediate_size": (0, 1 << 22),
    "num_experts": (0, 1 << 16),
    "num_local_experts": (0, 1 << 16),
    "num_experts_per_tok": (0, 1 << 16),
}
_POSITIVE = ("rope_theta", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "factor")


def check_config(config: Any) -> None:
    """Raises ImportModelError, naming the field, for one that is out of range or does not divide another."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name, (low, high) in _SIZES.items():
        value = _value(text, name)
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, int) and not isinstance(one, bool) and not low <= one <= high:
                raise _refuse(name, one, f"{low} .. {high}")
    for name, number in _numbers(vars(text)):
        last = name.rpartition(".")[2]
        if math.isnan(number) or (last in _POSITIVE and not 0 < number < math.inf):
            raise _refuse(name, number, "a finite number above 0" if last in _POSITIVE else "a number")
    _check_heads(text)


def _value(config: Any, name: str) -> Any:
    """A field, None if there is none; where layers have values of their own, all of these."""
    try:
        return getattr(config, name, None)
    except Exception:  # that it differs between layers
        return [getattr(layer, name, None) for layer in config.per_layer_config]


def _check_heads(text: Any) -> None:
    hidden, heads, kv_heads = (
        _value(text, name) for name in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    if not isinstance(heads, int):
        return
    if isinstance(hidden, int) and _value(text, "head_dim") is None and hidden % heads:
        raise ImportModelError(
            f"config: hidden_size is {hidden}; expected a multiple of the {heads} attention heads"
        )
    if isinstance(kv_heads, int) and heads % kv_heads:
        raise ImportModelError(
            f"config: num_attention_heads is {heads}; expected a multiple of the {kv_heads} key and value heads"
        )


def _numbers(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _numbers({str(key): one for key, one in value.items()}, f"{prefix}{name}.")
        elif isinstance(value, float) or (isinstance(value, int) and name in _POSITIVE):
            yield f"{prefix}{name}", value
        elif isinstance(value, list | tuple):
            yield from ((f"{prefix}{name}", one) for one in value if isinstance(one, float))


def _refuse(name: str, value: Any, expected: str) -> ImportModelError:
    return ImportModelError(f"config: {name} is {value}; expected {expected}")
