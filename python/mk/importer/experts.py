# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The experts of every Hugging Face model as one functional operator, `torch.ops.mk.experts`.

What it means is: each row passes through the gated feed-forward layers of the experts that its router chose, and the
results are added with the router's weights. The router itself stays written out. So do experts of any other kind, with
biases or another gate, through all of which each row passes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mk.errors import ImportModelError

if TYPE_CHECKING:
    import torch

INTERFACE = "mk"
_paths: Mapping[int, str] = {}


def use_mk_experts(model: Any) -> None:
    """Routes the model's experts, where it has any, to the operator."""
    global _paths
    _register()
    _paths = {id(module): name for name, module in model.named_modules()}
    model.set_experts_implementation(INTERFACE)


@functools.cache
def _register() -> None:
    """Defines the operator and enters it in HF's experts interface; later calls do nothing."""
    import torch
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    def reference(
        x: torch.Tensor,
        experts: torch.Tensor,
        weights: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        activation: str,
    ) -> torch.Tensor:
        """x [N,D], experts int64 [N,k], weights [N,k], gate_up [E,2I,D], down [E,D,I] -> [N,D]."""
        result = torch.zeros_like(x)
        for place in range(experts.shape[1]):
            chosen = experts[:, place]
            gate, up = torch.einsum("nd,nid->ni", x, gate_up[chosen]).chunk(2, -1)
            inner = _activations()[activation](gate) * up
            result = result + torch.einsum("ni,ndi->nd", inner, down[chosen]) * weights[:, place : place + 1]
        return result

    # Annotations are strings in this file; the operator's schema is therefore spelled out.
    schema = (
        "(Tensor x, Tensor experts, Tensor weights, Tensor gate_up, Tensor down, str activation) -> Tensor"
    )
    operator = torch.library.custom_op("mk::experts", reference, mutates_args=(), schema=schema)

    @operator.register_fake
    def _(x: Any, experts: Any, weights: Any, gate_up: Any, down: Any, activation: str) -> Any:
        return torch.empty_like(x)

    ALL_EXPERTS_FUNCTIONS.register(INTERFACE, _forward)


def _activations() -> Mapping[str, Any]:
    import torch

    return {"silu": torch.nn.functional.silu}


def _forward(
    module: Any, hidden_states: Any, top_k_index: Any, top_k_weights: Any, *args: Any, **extra: Any
) -> Any:
    import torch

    where = _paths.get(id(module), type(module).__name__)

    def refuse(what: str) -> ImportModelError:
        return ImportModelError(f"{where}: {what}; mk cannot compile these experts")

    if args or any(value is not None for value in extra.values()):
        raise refuse(
            f"they take other arguments than rows, experts and weights ({', '.join(extra) or 'unnamed'})"
        )
    # What HF's interface lets a class say of its experts, and what the operator means.
    expected = {
        "has_gate": True,
        "has_bias": False,
        "is_transposed": False,
        "is_concatenated": True,
        "has_post_expert_norm": False,
    }
    if all(getattr(module, name, value) == value for name, value in expected.items()):
        activation = _find_activation(module, int(module.gate_up_proj.shape[1]))
        if activation is not None:
            return torch.ops.mk.experts(
                hidden_states, top_k_index, top_k_weights, module.gate_up_proj, module.down_proj, activation
            )
    return _all_experts(module, hidden_states, top_k_index, top_k_weights)


def _all_experts(module: Any, x: Any, chosen: Any, weights: Any) -> Any:
    """Experts of any other kind, in torch's operators: each row meets all of them, most with a weight of 0.

    x [N,D], chosen int64 [N,k], weights [N,k] -> [N,D].
    """
    import torch

    def multiply(rows: Any, name: str) -> Any:
        matrices = getattr(module, name)
        matrices = matrices if module.is_transposed else matrices.transpose(1, 2)
        products = torch.matmul(rows, matrices)
        return products + getattr(module, f"{name}_bias")[:, None] if module.has_bias else products

    if module.has_gate:
        inner = module._apply_gate(multiply(x[None], "gate_up_proj"))
    else:
        inner = module.act_fn(multiply(x[None], "up_proj"))
    results = multiply(inner, "down_proj")  # [E,N,D]
    if module.has_post_expert_norm:
        results = module.post_expert_norm(results)
    route = x.new_zeros(x.shape[0], results.shape[0]).scatter(1, chosen, weights.to(x.dtype))
    return (results * route.transpose(0, 1).unsqueeze(2)).sum(0)


def _find_activation(module: Any, columns: int) -> str | None:
    """The activation with which the module's own gate, asked with numbers, gives `activation(gate) * up`."""
    import torch
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes(), torch.no_grad():
        # Small numbers tell activations apart, large ones show where a gate is cut off.
        generator = torch.Generator().manual_seed(0)
        sizes = torch.logspace(-3, 2.5, 64)[:, None]
        products = torch.randn(64, columns, generator=generator) * sizes
        gate, up = products.chunk(2, -1)
        found = module._apply_gate(products)
        for name, activation in _activations().items():
            if found.shape == up.shape and torch.allclose(found, activation(gate) * up, rtol=1e-5, atol=1e-6):
                return name
    return None
