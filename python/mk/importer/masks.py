# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a model's attention mask means, found out by asking the mask function itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mk.errors import ImportModelError

LARGEST_PROBE = 1 << 22  # positions: a few milliseconds each


class MaskAttribute(AttributeError):
    """A model computes with a mask outside of the attention interface, which only then knows what it means."""


class MaskUsed(ImportModelError):
    """The same for the user: the attention interface cannot say what a mask means."""


class MaskRule:
    """Stands where HF expects a mask tensor, so that each layer's attention learns which mask it was given."""

    def __init__(self, allowed: Callable[..., Any] | None, limit: int) -> None:
        """`allowed`: None if the model has made a padding mask of its own. `limit`: positions to ask about."""
        self._allowed = allowed
        self._limit = limit
        self._window: int | None = None

    def __getattr__(self, name: str) -> Any:
        raise MaskAttribute(
            "the model computes with its attention mask instead of handing it to the attention"
        )

    def __getitem__(self, index: Any) -> Any:
        return self.__getattr__("__getitem__")

    def __radd__(self, other: Any) -> Any:
        return self.__getattr__("__radd__")

    def window(self, where: str) -> int:
        """The window in tokens (0: every earlier position is visible).

        Raises ImportModelError, naming `where`, for a mask that is neither causal nor causal with a window.
        """
        if self._window is None:
            self._window = self._find_window(where)
        return self._window

    def _find_window(self, where: str) -> int:
        import torch
        from torch.utils._python_dispatch import _disable_current_modes

        allowed = self._allowed
        if allowed is None:
            raise MaskUsed(f"{where}: is given a padding mask of the model's own; mk cannot compile it")

        with _disable_current_modes():  # the answers are facts about the model, not operators of its graph
            first, zero = torch.arange(self._limit), torch.zeros((), dtype=torch.int64)

            def visible(position: int) -> torch.Tensor:
                query = torch.full_like(first, position)
                try:
                    seen = torch.as_tensor(allowed(zero, zero, query, first)).expand(first.shape)
                    bool(seen.any())  # fails if the rule holds a tensor of the graph, which has no value yet
                    return seen
                except Exception as error:  # the rule is the model's code and may need more than positions
                    raise ImportModelError(
                        f"{where}: the attention mask depends on more than positions; mk cannot compile it"
                    ) from error

            last = self._limit - 1
            window = int(visible(last).sum())
            for position in {0, 1, 2, 3, 5, 7, window - 1, window, window + 1, last // 2, last - 1, last}:
                if 0 <= position <= last:
                    expected = (first <= position) & (first > position - window)
                    if not torch.equal(visible(position), expected):
                        raise ImportModelError(
                            f"{where}: the attention mask is neither causal nor a sliding window; mk cannot compile it"
                        )
        return 0 if window == self._limit else window


def mask_rule(
    *args: Any,
    mask_function: Callable[..., Any] | None = None,
    attention_mask: Any = None,
    config: Any = None,
    **kwargs: Any,
) -> MaskRule:
    """HF's mask interface: keeps the mask's rule instead of building a tensor."""
    from transformers.masking_utils import causal_mask_function

    if attention_mask is not None:
        return MaskRule(None, 0)
    return MaskRule(mask_function or causal_mask_function, probe_limit(config))


def probe_limit(config: Any) -> int:
    """Positions that are asked about: beyond any window or chunk, to see that there is one, and all that the model has.

    What begins only behind the last position of the model is as good as nothing.
    """
    sizes = [1 << 12]
    for name, size in vars(config).items():
        if isinstance(size, int) and ("window" in name or "chunk" in name):
            sizes.append(2 * size + 8)
        elif isinstance(size, int) and name == "max_position_embeddings":
            sizes.append(size)
    return min(max(sizes), LARGEST_PROBE)
