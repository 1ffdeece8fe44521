# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a Hugging Face module to an exported program of one ragged step."""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from mk.errors import ImportModelError
from mk.importer.attention import INTERFACE, Trace, register, tracing
from mk.importer.experts import use_mk_experts
from mk.importer.operators import replace_operators
from mk.importer.ragged import check_ragged
from mk.importer.rotations import settle_rotations
from mk.importer.simplify import simplify

LARGEST_STEP = 1 << 16  # tokens; only bounds the symbols, no code depends on it


class Step(torch.nn.Module):
    """The model as `step(tokens[N], positions[N], slots[N], rows[R]) -> logits[R, vocab]`, all inputs int64."""

    INPUTS = ("tokens", "positions", "slots", "rows")

    def __init__(self, model: Any, trace: Trace) -> None:
        super().__init__()
        self.model = model
        self._trace = trace

    def forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        self._trace.positions, self._trace.slots = positions, slots
        with _NoGradOperators():
            output = self.model(
                input_ids=tokens[None], position_ids=positions[None], use_cache=False, logits_to_keep=rows
            )
        logits: torch.Tensor = output.logits[0]
        return logits


class _NoGradOperators(TorchFunctionMode):
    """Keeps the model's switches of grad mode, which change no value, out of its graph.

    torch would make an operator of each, and then cut the graph into pieces at these and put it together again.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return None if func is torch._C._set_grad_enabled else func(*args, **(kwargs or {}))


@dataclass
class Exported:
    """A torch program and what tracing it found; names carry the wrapper's prefix `model.` no more."""

    program: torch.export.ExportedProgram
    trace: Trace
    tied: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    vocab_size: int
    variants: dict[str, dict[int, torch.Tensor]]  # see mk.importer.rotations
    inputs: Mapping[str, str] = field(
        default_factory=dict
    )  # of the function itself: their names by those of the graph


def export_step(model: Any) -> Exported:
    """Exports `model`, which this function takes over and changes: its parameters become fake float32 tensors.

    N and R are dynamic. Raises ImportModelError if the model cannot be exported.
    """
    model.eval()
    tied, shapes = _name_parameters(model)
    _use_mk_interfaces(model)
    variants = settle_rotations(model)
    _widen_buffers(model)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    trace = Trace({id(module): name for name, module in model.named_modules()})
    n, r = (torch.export.Dim(name, min=1, max=LARGEST_STEP) for name in ("n", "r"))
    with mode:
        _fake_parameters(model)
        # Sizes that differ from each other and from 0 and 1, which torch.export would take for constants.
        example = tuple(torch.zeros(size, dtype=torch.int64) for size in (6, 6, 6, 3))
    try:
        with torch.no_grad(), tracing(trace), _quiet(), _no_stack_traces():
            program = torch.export.export(
                Step(model, trace), example, strict=False, dynamic_shapes=({0: n}, {0: n}, {0: n}, {0: r})
            )
            if any(_mutates(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
    except ImportModelError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        raise ImportModelError(
            f"{_failing_module(error, trace) or type(model).__name__}: cannot be exported with a variable number of "
            f"tokens: {type(error).__name__}: {reason[0]}"
        ) from error
    if not trace.found:
        raise ImportModelError(
            f"{type(model).__name__} has no attention that goes through the attention interface"
        )
    program = replace_operators(program)
    simplify(program)
    vocab_size = check_ragged(program)
    return Exported(program, trace, tied, shapes, vocab_size, variants)


def _name_parameters(model: Any) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    canonical: dict[int, str] = {}
    tied: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = canonical.setdefault(id(parameter), name)
        if first != name:
            tied[name] = first
        else:
            shapes[name] = tuple(parameter.shape)
    return tied, shapes


def _fake_parameters(model: Any) -> None:
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fake = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                module._parameters[name] = torch.nn.Parameter(fake, requires_grad=False)


def _widen_buffers(model: Any) -> None:
    # Buffers stay real: rotary frequencies and the like are in no checkpoint, so their values come from here.
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                module._buffers[name] = buffer.float()


def _use_mk_interfaces(model: Any) -> None:
    register()
    name = type(model).__name__
    if not hasattr(model, "set_attn_implementation"):
        raise ImportModelError(f"{name} is not a Hugging Face causal language model")
    with _quiet():
        model.set_attn_implementation(INTERFACE)
        use_mk_experts(model)
    if model.config._attn_implementation != INTERFACE:
        raise ImportModelError(
            f"{name} has its own attention code instead of the attention interface; mk cannot see its cache"
        )


def _failing_module(error: BaseException, trace: Trace) -> str:
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
def _no_stack_traces() -> Iterator[None]:
    """Nodes need only the path of their module; a Python stack for each of them takes a tenth of the export."""
    config = torch.fx.config
    before, config.do_not_emit_stack_traces = config.do_not_emit_stack_traces, True
    try:
        yield
    finally:
        config.do_not_emit_stack_traces = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
