# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The attention of every Hugging Face model as one functional operator, `torch.ops.mk.attention`.

The exported graph holds no KV cache: the operator names its cache by the layer index, and the tokens it
receives are ragged (each has a position and a slot). What it means is: append k and v to the layer's
cache at (slot, position), then let every query attend to the entries of its own slot at positions
`max(0, p - window + 1) .. p`, perhaps with capped scores and with a sink for each head.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mk.errors import ImportModelError
from mk.importer.imported import AttentionFacts
from mk.importer.masks import MaskRule, mask_rule

if TYPE_CHECKING:
    import torch

INTERFACE = "mk"
# Arguments that HF passes along for other implementations and that cannot change the result here:
# positions reach the operator as an input of the step, and the cache belongs to the runtime.
HARMLESS = frozenset(
    {
        "position_ids",
        "cache_position",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "return_dict",
        "logits_to_keep",
        "num_items_in_batch",
        "position_embeddings",
        "past_key_values",
        "layer_idx",
    }
)


class Trace:
    """What the attention of one export needs to know, and what it finds out.

    `positions` and `slots` are the step's inputs (int64 [N]); `paths` maps id(module) to the module path;
    `found` collects one entry per layer index, in execution order. `longest`: the positions that attention was asked
    about, 0 if what was found holds for any number.
    """

    def __init__(self, paths: dict[int, str]) -> None:
        self.paths = paths
        self.positions: torch.Tensor | None = None
        self.slots: torch.Tensor | None = None
        self.found: dict[int, AttentionFacts] = {}
        self.longest = 0

    def path(self, module: Any) -> str:
        """The path of a module, "" of anything else and of the model itself."""
        return self.paths.get(id(module), "")


_active: Trace | None = None


@contextlib.contextmanager
def tracing(trace: Trace) -> Iterator[None]:
    """Routes the attention calls of one export to `trace`; HF's packed-sequence detection is off meanwhile.

    Slots say which tokens belong together, so guessing it from the positions would only add operators.
    """
    global _active
    from transformers import masking_utils

    register()
    detect = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    _active = trace
    try:
        yield
    finally:
        _active = None
        masking_utils.find_packed_sequence_indices = detect


@functools.cache
def register() -> None:
    """Defines the operator and enters it in HF's attention and mask interfaces; later calls do nothing."""
    import torch
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    def reference(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        layer: int,
        scale: float,
        window: int,
        softcap: float,
        sinks: torch.Tensor | None,
    ) -> torch.Tensor:
        """q [1,H,N,D], k [1,KH,N,D], v [1,KH,N,Dv], positions and slots int64 [N], sinks [H] -> [1,N,H,Dv].

        The eager meaning without a cache: only the given tokens see each other. `window` 0 and `softcap` 0.0 mean none.
        """
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        scores = torch.matmul(q, k.transpose(2, 3)) * scale
        if softcap:
            scores = torch.tanh(scores / softcap) * softcap
        distance = positions[:, None] - positions[None, :]
        seen = (distance >= 0) & (slots[:, None] == slots[None, :])
        if window:
            seen &= distance < window
        scores = scores.masked_fill(~seen, float("-inf"))
        if sinks is not None:
            column = sinks.view(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
            scores = torch.cat([scores, column], -1)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)[..., : k.shape[2]]
        return torch.matmul(weights, v).transpose(1, 2).contiguous()

    # Annotations are strings in this file; the operator's schema is therefore spelled out.
    schema = (
        "(Tensor q, Tensor k, Tensor v, Tensor positions, Tensor slots, int layer, float scale, int window, "
        "float softcap, Tensor? sinks) -> Tensor"
    )
    operator = torch.library.custom_op("mk::attention", reference, mutates_args=(), schema=schema)

    @operator.register_fake
    def _(
        q: Any,
        k: Any,
        v: Any,
        positions: Any,
        slots: Any,
        layer: int,
        scale: float,
        window: int,
        softcap: float,
        sinks: Any,
    ) -> Any:
        return q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[3])

    AttentionInterface.register(INTERFACE, _forward)
    AttentionMaskInterface.register(INTERFACE, mask_rule)


def _forward(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: Any = None,
    dropout: float = 0.0,
    sliding_window: Any = None,
    softcap: Any = None,
    s_aux: Any = None,
    is_causal: Any = None,
    **extra: Any,
) -> tuple[Any, None]:
    import torch

    if _active is None:
        raise ImportModelError("the attention implementation 'mk' only works while mk imports a model")
    where = _active.paths.get(id(module), type(module).__name__)

    def refuse(what: str) -> ImportModelError:
        return ImportModelError(f"{where}: {what}; mk cannot compile this attention")

    for name, given in extra.items():
        if given is not None and name not in HARMLESS:
            raise refuse(f"attention argument '{name}' is not supported")
    if dropout:
        raise refuse(f"attention dropout is {dropout}, it must be 0")
    if scaling is None:
        raise refuse("no scale was given (scaling=None)")
    window = int(sliding_window or 0)
    if isinstance(attention_mask, MaskRule):
        masked = attention_mask.window(where)
        # HF's own eager attention looks only at the mask, so the mask is what the model means.
        if window and masked != window:
            raise refuse(f"the mask has window {masked} but the layer says {window}")
        window = masked
    elif attention_mask is None:
        raise refuse("it is given no mask, and so not causal")
    else:
        raise refuse("it is given its own attention mask")
    # Each call has a cache of its own: a layer may attend twice, and layers may be the same module.
    layer = len(_active.found)
    columns = int(value.shape[3])
    if columns < key.shape[3]:
        value = torch.nn.functional.pad(value, (0, int(key.shape[3]) - columns))
    elif columns > key.shape[3]:
        missing = columns - int(key.shape[3])
        query, key = (torch.nn.functional.pad(one, (0, missing)) for one in (query, key))
    facts = AttentionFacts(
        int(query.shape[1]),
        int(key.shape[1]),
        int(key.shape[3]),
        int(value.shape[3]),
        float(scaling),
        window,
        float(softcap or 0.0),
        s_aux is not None,
        where,
    )
    _active.found[layer] = facts
    result = torch.ops.mk.attention(
        query,
        key,
        value,
        _active.positions,
        _active.slots,
        layer,
        facts.scale,
        window,
        facts.softcap,
        s_aux,
    )
    return result[..., :columns], None
