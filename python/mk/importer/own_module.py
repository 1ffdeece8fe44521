# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A user's own tensor-in tensor-out module as a ragged step whose rows are the leading dimensions of its inputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.fx.experimental._config as shape_config
from torch._subclasses.fake_tensor import FakeTensorMode

from mk.errors import ImportModelError
from mk.importer import export as step_export
from mk.importer import step
from mk.importer.attention import Trace
from mk.importer.control import branches_in_place, refuse_decision, refuse_graphs
from mk.importer.flatten import add_inputs, flatten, put_rows_first
from mk.importer.fold import fold_constants
from mk.importer.head_sizes import align_heads
from mk.importer.module_inputs import Input, example_size, read_inputs, result_dtypes
from mk.importer.module_signature import describe
from mk.importer.narrow import NARROW, compute_in_float32, is_narrow
from mk.importer.operators import replace_operators
from mk.importer.precision import check_precision, parameter_dtypes
from mk.importer.predicates import ask_all_rows
from mk.importer.questions import Question, asked_by, noting, refuse_squeezes
from mk.importer.row_axes import RowAxes
from mk.importer.sdpa import LAST, check_calls, find_calls, map_calls
from mk.importer.simplify import simplify
from mk.importer.thrift import thrift
from mk.signature import Signature, digest

REQUEST = ("tokens", "positions", "slots", "rows")


class _Call(torch.nn.Module):
    """The module under the name that all names of an import have in front."""

    def __init__(self, model: torch.nn.Module, equal: Sequence[Sequence[tuple[int, int]]]) -> None:
        super().__init__()
        self.model = model
        self._equal = equal  # (input, dimension) that have one size

    def forward(self, *inputs: torch.Tensor) -> Any:
        for (first, axis), *others in self._equal:
            for other, place in others:
                torch._check(inputs[first].shape[axis] == inputs[other].shape[place])
        with step._NoGradOperators():
            return self.model(*inputs)


def export_module(
    module: torch.nn.Module, inputs: Any, dynamic: Any
) -> tuple[step_export.Exported, Signature]:
    """Exports `module`, which this function takes over and changes, as `step(tokens, positions, slots, rows, inputs)`.

    `inputs`: example tensors or arrays, of which only shapes and dtypes are used. `dynamic`: as `dynamic_shapes` of
    torch.export, for those dimensions that may vary. Raises ImportModelError, naming the module path and the reason,
    for what cannot be a step of rows.
    """
    module.eval()
    given = read_inputs(module, inputs, dynamic)
    dtypes = result_dtypes(module, given)
    tied, shapes = step_export._name_parameters(module)
    taken = [one.value.dtype for one in given if one.value.is_floating_point()]
    narrow = NARROW if is_narrow(module, taken) else ()
    own = parameter_dtypes(module).union(taken)
    buffers = _kept_buffers(module)
    step_export._widen_buffers(module, narrow)
    trace = Trace({id(child): name for name, child in module.named_modules()})
    asked: list[Question] = []
    with noting(asked, trace.path):
        program, tree = _export(module, given, trace, asked, narrow)
    refuse_graphs(program)
    program = replace_operators(program)
    _refuse_writes(type(module).__name__, program)
    refuse_squeezes(program)  # before they are simplified away: most change nothing but for a size of one
    simplify(program)
    fold_constants(program)
    check_precision(type(module).__name__, program, own)
    if narrow:
        compute_in_float32(program)
        simplify(program)
    _compute_results(program)
    together = ask_all_rows(program)
    placeholders = _user_inputs(program)
    calls = find_calls(program)
    symbols = _row_symbols(asked_by(asked) or type(module).__name__, program, given, placeholders)
    length = _length(calls, program, symbols)
    batch = next((symbol for symbol in symbols if symbol != length), None)
    axes = RowAxes(program, symbols)
    check_calls(calls, axes, length)
    signature = describe(
        program, axes, given, placeholders, dtypes, tree, (batch, length), calls, asked, together
    )
    put_rows_first(program, axes, placeholders)
    named = add_inputs(program, (*REQUEST, LAST), length)
    map_calls(calls, program, named)
    flatten(program, axes, batch, length, placeholders, named["positions"])
    align_heads(program, trace)
    names = {node.name: port.name for node, port in zip(placeholders, signature.inputs, strict=True)}
    names[named[LAST].name] = LAST
    return step_export.Exported(program, trace, tied, shapes, 0, {}, names), replace(
        signature, buffers=buffers
    )


def _kept_buffers(module: torch.nn.Module) -> dict[str, str]:
    """Those that a checkpoint has: the program takes their values in, so weights that bring others do not fit."""
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return {
        name: digest(value.detach().double().numpy())
        for name, value in module.state_dict().items()
        if name not in parameters and isinstance(value, torch.Tensor)
    }


# ------------------------------------------------------------------------------------------------------------ export


def _export(
    module: torch.nn.Module,
    inputs: Sequence[Input],
    trace: Trace,
    asked: Sequence[Question],
    narrow: Collection[torch.dtype],
) -> tuple[torch.export.ExportedProgram, Any]:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    shared: dict[str, list[tuple[int, int]]] = {}
    for place, given in enumerate(inputs):
        for axis, entry in given.dynamic.items():
            if name := getattr(entry, "__name__", None):
                shared.setdefault(name, []).append((place, axis))
    wrapped = _Call(module, list(shared.values()))
    with mode:
        step_export._fake_parameters(module, narrow)
        example = tuple(
            torch.zeros(
                [
                    example_size(n, i.dynamic.get(a)) if a in i.rows else n
                    for a, n in enumerate(i.value.shape)
                ],
                dtype=_traced_dtype(i, narrow),
            )
            for i in inputs
        )
    specs = tuple(dict.fromkeys(i.rows, torch.export.Dim.AUTO) or None for i in inputs)
    try:
        with (
            torch.no_grad(),
            step.quiet(),
            thrift(),
            branches_in_place(module),
            shape_config.patch(backed_size_oblivious=True),  # sizes of 1 are sizes like others
        ):
            program = torch.export.export(wrapped, example, strict=False, dynamic_shapes=(specs,))
            if any(step._mutates(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
    except ImportModelError:
        raise
    except Exception as error:
        if (refusal := refuse_decision(error, module)) is not None:
            raise refusal from error
        reason = " ".join((str(error).strip() or type(error).__name__).splitlines()[:3])
        where = step.failing_module(error, trace) or asked_by(asked) or type(module).__name__
        raise ImportModelError(f"{where}: cannot be exported: {type(error).__name__}: {reason}") from error
    return program, program.call_spec.out_spec


def _traced_dtype(given: Input, narrow: Collection[torch.dtype]) -> torch.dtype:
    if not given.value.is_floating_point():
        return torch.int64
    return given.value.dtype if given.value.dtype in narrow else torch.float32


def _refuse_writes(name: str, program: torch.export.ExportedProgram) -> None:
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        written = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
        raise ImportModelError(
            f"{name} changes {written[0].removeprefix('model.')} while it runs; mk cannot compile it"
        )


def _compute_results(program: torch.export.ExportedProgram) -> None:
    """What is handed through becomes an operator, so that every result is one's."""
    output = program.graph.output_node()
    results = []
    for node in output.args[0]:
        if isinstance(node, torch.fx.Node) and node.op == "placeholder":
            with program.graph.inserting_before(output):
                through = program.graph.call_function(torch.ops.aten.mul.Scalar, (node, 1.0))
            through.meta = {"val": node.meta["val"]}
            node = through
        results.append(node)
    output.args = (tuple(results),)


def _user_inputs(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    names = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [names[s.arg.name] for s in program.graph_signature.input_specs if s.kind.name == "USER_INPUT"]


def _row_symbols(
    name: str, program: torch.export.ExportedProgram, inputs: Sequence[Input], nodes: Sequence[torch.fx.Node]
) -> list[Any]:
    """The sizes that vary, at most two, in the order in which they are met."""
    found: list[Any] = []
    for given, node in zip(inputs, nodes, strict=True):
        for axis, size in enumerate(node.meta["val"].shape):
            if axis not in given.rows:
                continue
            if not isinstance(size, torch.SymInt) or size.node.expr.is_Integer:
                raise ImportModelError(
                    f"{name}: input {given.name}: the module fixes dimension {axis} to {size}; mk compiles modules "
                    "whose rows may be any number"
                )
            if not size.node.expr.is_Symbol:
                raise ImportModelError(
                    f"input {given.name}: the size of dimension {axis} is {size.node.expr}"
                )
            if size.node.expr not in found:
                found.append(size.node.expr)
    if len(found) > 2:
        names = ", ".join(i.name for i in inputs)
        raise ImportModelError(
            f"{name}: the inputs {names} have {len(found)} independent leading sizes; expected a batch and a length "
            "(share a torch.export.Dim in `dynamic` where they are equal)"
        )
    if not found:
        raise ImportModelError(f"{name}: no input has rows; expected a leading dimension")
    return found


def _length(calls: Sequence[Any], program: torch.export.ExportedProgram, symbols: Sequence[Any]) -> Any:
    """The size along which attention looks or positions count; else the last."""
    found: list[Any] = []
    sizes = [call.node.args[0].meta["val"].shape[-2] for call in calls]
    sizes += [
        node.meta["val"].shape[0]
        for node in program.graph.nodes
        if node.op == "call_function" and str(node.target).startswith("aten.arange")
    ]
    for size in sizes:
        if isinstance(size, torch.SymInt) and size.node.expr in symbols and size.node.expr not in found:
            found.append(size.node.expr)
    return found[0] if found else symbols[-1]
