# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a Hugging Face module to an exported program of one ragged step."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mk.errors import ImportModelError
from mk.importer.attention import INTERFACE, Trace, register
from mk.importer.complex_numbers import split_complex_numbers
from mk.importer.contractions import write_out_contractions
from mk.importer.control import branches_in_place
from mk.importer.experts import use_mk_experts
from mk.importer.fold import fold_literals
from mk.importer.head_sizes import align_heads
from mk.importer.lengths import Lengths
from mk.importer.masks import MaskUsed
from mk.importer.operators import replace_operators
from mk.importer.own_attention import replace_own_attention, write_out_attention
from mk.importer.placeholders import fill_places
from mk.importer.positions import place_positions
from mk.importer.precision import check_precision, parameter_dtypes
from mk.importer.questions import refuse_squeezes
from mk.importer.ragged import check_ragged
from mk.importer.rotations import settle_rotations
from mk.importer.scatters import join_assignments
from mk.importer.simplify import simplify
from mk.importer.step import longest_sequence, quiet, trace_step


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
    own = parameter_dtypes(model)
    _use_mk_interfaces(model)
    variants = settle_rotations(model)
    _widen_buffers(model)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        _fake_parameters(model)
    text = model.config.get_text_config()
    longest = longest_sequence(text)
    with branches_in_place(model, draws=True):
        program, trace = _trace(model, mode, longest)
    program = replace_operators(program)
    refuse_squeezes(program)  # as in own_module: before they are simplified away
    simplify(program)
    join_assignments(program)
    split_complex_numbers(program)
    fill_places(program, _logits(program)[-1])
    write_out_attention(program)
    write_out_contractions(program)
    lengths = Lengths(program, getattr(text, "pad_token_id", None), longest)
    check_precision(type(model).__name__, program, own, lengths.knows)
    fold_literals(program, lengths)
    replace_own_attention(program, lengths, trace, text)
    align_heads(program, trace)
    place_positions(program, lengths)
    vocab_size = check_ragged(program)
    if not trace.found:
        raise ImportModelError(f"{type(model).__name__} has no attention that mk can see a cache for")
    return Exported(program, trace, tied, shapes, vocab_size, variants)


def _trace(model: Any, mode: FakeTensorMode, longest: int) -> tuple[torch.export.ExportedProgram, Trace]:
    """The program of a step, by HF's attention interface, or by the model's own eager code if that needs its masks."""
    paths = {id(module): name for name, module in model.named_modules()}
    trace = Trace(paths)
    try:
        return trace_step(model, trace, mode, longest), trace
    except MaskUsed as error:
        try:
            with quiet():
                model.set_attn_implementation("eager")
        except ValueError:
            raise error from None
    trace = Trace(paths)
    return trace_step(model, trace, mode, longest), trace


def _logits(program: torch.export.ExportedProgram) -> Any:
    """The shape of the step's result."""
    (result,) = next(node for node in program.graph.nodes if node.op == "output").args[0]
    return result.meta["val"].shape


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


def _fake_parameters(model: Any, kept: Collection[torch.dtype] = ()) -> None:
    """As float32, but for those of the dtypes `kept`."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                dtype = parameter.dtype if parameter.dtype in kept else torch.float32
                fake = torch.empty(parameter.shape, dtype=dtype, device="cpu")
                module._parameters[name] = torch.nn.Parameter(fake, requires_grad=False)


def _widen_buffers(model: Any, kept: Collection[torch.dtype] = ()) -> None:
    # Buffers stay real: rotary frequencies and the like are in no checkpoint, so their values come from here.
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point() and buffer.dtype not in kept:
                module._buffers[name] = buffer.float()


def _use_mk_interfaces(model: Any) -> None:
    register()
    name = type(model).__name__
    if not hasattr(model, "set_attn_implementation"):
        raise ImportModelError(f"{name} is not a Hugging Face causal language model")
    with quiet(), contextlib.suppress(ValueError):  # of a class whose code for attention is its own
        model.set_attn_implementation(INTERFACE)
    with quiet():
        use_mk_experts(model)
