# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Hugging Face model as one ragged step, traced by torch.export."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import os
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from mk.errors import ImportModelError
from mk.importer.attention import Trace, tracing
from mk.importer.masks import MaskAttribute, MaskUsed
from mk.importer.questions import Question, asked_by, check_answers, noting
from mk.importer.thrift import thrift

LARGEST_STEP = 1 << 16  # tokens; only bounds the symbols, no code depends on it


class Step(torch.nn.Module):
    """The model as `step(tokens[N], positions[N], slots[N], rows[R]) -> logits[R, vocab]`, all inputs int64."""

    INPUTS = ("tokens", "positions", "slots", "rows")

    def __init__(self, model: Any, trace: Trace) -> None:
        super().__init__()
        self.model = model
        self._trace = trace
        self._selects = "logits_to_keep" in inspect.signature(model.forward).parameters

    def forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        self._trace.positions, self._trace.slots = positions, slots
        with _NoGradOperators():
            # Positions are left to the model's own code, which may begin to count anywhere; see mk.importer.positions.
            keep = {"logits_to_keep": rows} if self._selects else {}
            output = self.model(input_ids=tokens[None], use_cache=False, **keep)
        logits: torch.Tensor = output.logits[0]
        return logits if self._selects else logits[rows]


class _NoGradOperators(TorchFunctionMode):
    """Keeps the model's switches of grad mode, which change no value, out of its graph.

    torch would make an operator of each, and then cut the graph into pieces at these and put it together again.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return None if func is torch._C._set_grad_enabled else func(*args, **(kwargs or {}))


def longest_sequence(config: Any) -> int:
    """The positions that a model has, 0 if its config does not say."""
    for name in ("max_position_embeddings", "max_seq_len", "seq_length"):
        if isinstance(size := getattr(config, name, None), int) and size > 0:
            return size
    return 0


def trace_step(model: Any, trace: Trace, mode: FakeTensorMode, longest: int) -> torch.export.ExportedProgram:
    """The step of `model`, whose parameters are tensors of `mode`, with N and R dynamic.

    `longest`: the positions that the model has, 0 if it does not say. Raises ImportModelError if the model cannot be
    exported: MaskUsed if that is so because of a mask.
    """
    # A table of positions that is cut to the number of tokens bounds it, and is not cut for as many as it has; a step
    # of several sequences may have more all the same.
    most = longest - 1 if longest > 1 else LARGEST_STEP
    n, r = (torch.export.Dim(name, min=1, max=most) for name in ("n", "r"))
    with mode:
        # Sizes that differ from each other and from 0 and 1, which torch.export would take for constants.
        example = tuple(torch.zeros(size, dtype=torch.int64) for size in (6, 6, 6, 3))
    import transformers

    asked: list[Question] = []
    libraries = [os.path.dirname(transformers.__file__)]  # whose comparisons of lengths choose among equals
    try:
        with (
            torch.no_grad(),
            tracing(trace),
            quiet(),
            thrift(),
            noting(asked, trace.path, libraries),
        ):
            program = torch.export.export(
                Step(model, trace), example, strict=False, dynamic_shapes=({0: n}, {0: n}, {0: n}, {0: r})
            )
            if any(_mutates(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
    except ImportModelError:
        raise
    except Exception as error:
        lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()] or [""]
        # What comes behind a first line of this kind says which operator needs a fixed number.
        reason = lines[1] if lines[0].startswith("Constraints violated") and len(lines) > 1 else lines[0]
        refusal = MaskUsed if isinstance(error, MaskAttribute) else ImportModelError
        where = failing_module(error, trace) or asked_by(asked) or type(model).__name__
        raise refusal(
            f"{where}: cannot be exported with a variable number of tokens: {type(error).__name__}: {reason}"
        ) from error
    check_answers(type(model).__name__, program, asked, longest)
    return program


def failing_module(error: BaseException, trace: Trace) -> str:
    """The path of the innermost module whose code the exception came through, "" if there is none."""
    path = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        path = trace.paths.get(id(frame.f_locals.get("self"))) or path
    return path


def _mutates(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(
        a.alias_info is not None and a.alias_info.is_write for a in schema.arguments
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    # What goes wrong is told by the exception; torch would print the whole graph first.
    from transformers.utils import logging as transformers_logging

    torch_logger = logging.getLogger("torch")
    torch_level, level = torch_logger.level, transformers_logging.get_verbosity()
    torch_logger.setLevel(logging.CRITICAL)
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        torch_logger.setLevel(torch_level)
