# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads a finished `mk_task.program` into the plain data of mk.compiler.manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mk.compiler.manifest import (
    FORMAT,
    Abi,
    Arenas,
    Buffer,
    Cache,
    Family,
    FunctionInput,
    FunctionPlan,
    Kind,
    Manifest,
    Segment,
    Sizes,
    Target,
    Weight,
)
from mk.compiler.options import Options
from mk.compiler.target import Target as Machine
from mk.errors import CompileError
from mk.ir import Attribute, Module, Operation, native
from mk.view import make_view

Array = np.ndarray[Any, Any]
ENTRY = "mk_main"  # what mk-build-main calls the function
LINE = 64  # bytes: events lie this far apart, and pitches are multiples of it


def extract(
    module: Module, options: Options, machine: Machine, version: str
) -> tuple[Manifest, dict[str, Array]]:
    """The manifest and the arrays of a package. Raises CompileError if a plan pass has not run."""
    program = next((op for op in module.body if op.name == "mk_task.program"), None)
    if program is None:
        raise CompileError("expected a mk_task.program after the plan passes, found none")
    parts: dict[str, list[Operation]] = {}
    for op in program.regions[0].blocks[0]:
        parts.setdefault(op.name.removeprefix("mk_task."), []).append(op)
    if len(parts.get("table", [])) != 1:
        raise CompileError("the program has no table; mk-build-table has not run")
    table, names = parts["table"][0].attributes, native.abi()
    kinds = {op.attributes["sym_name"]: op for op in parts["kind"]}
    families = {op.attributes["sym_name"]: op for op in parts["family"]}
    buffers = [_buffer(op, names) for op in parts["buffer"]]
    function = _function(parts, families, kinds)
    logits = "" if function else _logits(families, kinds)
    abi, request_bytes = _abi(module, names)
    sizes = _sizes(module, options)
    manifest = Manifest(
        format=FORMAT,
        version=version,
        options={**dataclasses.asdict(options), "without": list(options.without)},
        entry=ENTRY,
        target=Target(
            kind=machine.kind,
            arch=machine.arch,
            cpu=machine.cpu,
            features=list(machine.features),
            workers=machine.workers,
            lanes=machine.lanes,
            bandwidth=machine.bandwidth,
        ),
        sizes=sizes,
        vocabulary=next((buffer["shape"][1] or 0 for buffer in buffers if buffer["name"] == logits), 0),
        logits=logits,
        arenas=_arenas(program, len(table["events"]), request_bytes, abi),
        gpu=None,  # known once the code is assembled
        cache=_cache(parts.get("cache", []), sizes["page"]),
        weights=[_weight(op, names) for op in parts.get("weight", [])],
        buffers=buffers,
        kinds=[_kind(kinds[name], names) for name in table["kinds"]],
        families=[_family(families[name]) for name in table["families"]],
        events=[str(name) for name in table["events"]],
        abi=abi,
    )
    if function:
        manifest["function"] = function
    arrays: dict[str, Array] = {"table": table["words"], "counts": table["counts"]}
    for op in parts.get("weight", []):
        if "tile_offsets" in op.attributes:
            arrays[f"tile_offsets/{op.attributes['sym_name']}"] = op.attributes["tile_offsets"]
    return manifest, arrays


def _sizes(module: Module, options: Options) -> Sizes:
    """From the module and not from the options: a later level may have been made with others.

    The module counts whole pages; what the user allows may end within one.
    """
    fields = {name: int(value) for name, value in module.operation.attributes["mk.options"].fields.items()}
    return Sizes(
        max_tokens=fields["max_tokens"],
        max_rows=fields["max_rows"],
        max_sequences=fields["max_sequences"],
        max_length=options.max_length if options.length == fields["max_length"] else fields["max_length"],
        slot_pages=fields["max_length"] // fields["page"],
        page=fields["page"],
        split=fields["split"],
    )


def _required(op: Operation, name: str, by: str) -> int:
    if name not in op.attributes:
        raise CompileError(f"{op.name} @{op.attributes['sym_name']} has no {name}; {by} has not run")
    return int(op.attributes[name])


def _arenas(program: Operation, events: int, request_bytes: int, abi: Abi) -> Arenas:
    return Arenas(
        activations=_required(program, "activations", "mk-plan-memory"),
        flagged=int(program.attributes.get("flagged", 0)),
        params=_required(program, "params", "mk-plan-weights"),
        stream=_required(program, "stream", "mk-plan-weights"),
        scratch=_required(program, "scratch", "mk-lower-kinds"),
        request=request_bytes,
        events=LINE * events,
        context=8 * abi["context_words"],
    )


def _buffer(op: Operation, names: native.AbiText) -> Buffer:
    attributes = op.attributes
    shape, dtype = list(attributes["type"].shape), attributes["type"].dtype
    row = dtype.itemsize * (shape[1] or 0 if len(shape) == 2 else 1)
    made = Buffer(
        name=attributes["sym_name"],
        domain=names["domains"][attributes["domain"]],
        request=bool(attributes.get("request", False)),
        shape=shape,
        dtype=dtype.name,
        offset=_required(op, "offset", "mk-plan-memory"),
        pitch=-(-row // LINE) * LINE if len(shape) == 2 else row,
    )
    if "record" in attributes:
        made |= {"pitch": int(attributes["record"]), "record": True}
    return made


def _cache(ops: list[Operation], page: int) -> Cache | None:
    """The pool has one block size, so the layers must agree."""
    if not ops:
        return None
    types = {op.attributes["type"] for op in ops}
    if len(types) != 1:
        other = next(op for op in ops if op.attributes["type"] != ops[0].attributes["type"])
        first, name = ops[0], "sym_name"
        raise CompileError(
            f"{other.module_path or other.attributes[name]}: has a cache of {other.attributes['type']}, but "
            f"{first.module_path or first.attributes[name]} one of {first.attributes['type']}; expected layers with "
            "caches of one type"
        )
    (type,) = types
    heads, head_dim = type.shape
    assert heads is not None and head_dim is not None, f"{type} has no sizes"
    return Cache(
        layers=max(op.attributes["layer"] for op in ops) + 1,
        heads=heads,
        head_dim=head_dim,
        dtype=type.dtype.name,
        block=2 * page * head_dim * type.dtype.itemsize,
    )


def _weight(op: Operation, names: native.AbiText) -> Weight:
    attributes = op.attributes
    return Weight(
        name=attributes["sym_name"],
        sources=[str(name) for name in attributes["sources"]],
        views=[
            make_view(view.fields) if isinstance(view, Attribute) else None
            for view in attributes.get("views", [None] * len(attributes["sources"]))
        ],
        layout=names["layouts"][attributes["layout"]],
        shape=[size or 0 for size in attributes["type"].shape],
        dtype=attributes["type"].dtype.name,
        offset=attributes.get("offset"),
        gathered=bool(attributes.get("gathered", False)),
        scale=None if "scale" not in attributes else str(attributes["scale"]),
        segments=[_segment(segment) for segment in attributes.get("segments", [])],
    )


def _segment(segment: Attribute) -> Segment:
    fields = {name: int(value) for name, value in segment.fields.items()}
    return Segment(
        base=fields["base"],
        limit=fields["limit"],
        outer=fields["outer"],
        stride=fields["stride"],
        half=fields["half"],
        partner=fields["partner"],
    )


def _kind(op: Operation, names: native.AbiText) -> Kind:
    attributes = op.attributes
    is_experts = names["kind_classes"][attributes["kind_class"]] == "experts"
    attends = [inner for inner in op.regions[0].blocks[0] if inner.name == "mk.attend"]
    return Kind(
        name=attributes["sym_name"],
        kind_class=names["kind_classes"][attributes["kind_class"]],
        domain=names["domains"][attributes["domain"]],
        units=_required(op, "units", "mk-tile"),
        matrices=next(iter(op.regions[0].blocks[0])).attributes["chosen"] if is_experts else 1,
        window=attends[0].attributes.get("window", 0) if attends else 0,
    )


def _family(op: Operation) -> Family:
    attributes = op.attributes
    return Family(
        name=attributes["sym_name"],
        kind=str(attributes["kind"]),
        module=op.module_path,
        operands=[str(name) for name in attributes["operands"]],
        results=[str(name) for name in attributes["outputs"]],
        conditions=[_condition(one.fields) for one in attributes.get("conditions", [])],
    )


def _condition(fields: Mapping[str, Any]) -> str:
    return ("" if fields["taken"] == "true" else "not ") + str(fields["buffer"]).removeprefix("@")


def _logits(families: dict[str, Operation], kinds: dict[str, Operation]) -> str:
    """The buffer that `mk.sample` reads its logits from."""
    for family in families.values():
        body = kinds[family.attributes["kind"]].regions[0].blocks[0]
        for op in body:
            if op.name == "mk.sample" and op.operands[0] in body.arguments:
                return str(family.attributes["operands"][op.operands[0].index])
    raise CompileError("no family of the program is a mk.sample, so it is not known where the logits lie")


def _function(
    parts: dict[str, list[Operation]], families: dict[str, Operation], kinds: dict[str, Operation]
) -> FunctionPlan | None:
    """The inputs as declared and the operands of `mk.finish`; None for a program that draws tokens."""
    finish = [
        family
        for family in families.values()
        if any(op.name == "mk.finish" for op in kinds[family.attributes["kind"]].regions[0].blocks[0])
    ]
    if not finish:
        return None
    limits = _index_limits(families, kinds)
    inputs = [op.attributes["sym_name"] for op in parts["buffer"] if op.attributes.get("input")]
    # Integers that are computed with are float32, exact below this.
    integers = [op.attributes["sym_name"] for op in parts["buffer"] if len(op.attributes["type"].shape) == 1]
    limits = {**dict.fromkeys(integers, 1 << 24), **limits}
    body = kinds[finish[0].attributes["kind"]].regions[0].blocks[0]
    (end,) = (op for op in body if op.name == "mk.finish")
    return FunctionPlan(
        inputs=[FunctionInput(buffer=name, limit=limits.get(name)) for name in inputs],
        results=[str(finish[0].attributes["operands"][operand.index]) for operand in end.operands],
        positions=limits.get("positions"),
    )


def _index_limits(families: dict[str, Operation], kinds: dict[str, Operation]) -> dict[str, int]:
    """For each buffer of integers by which rows are looked up: how many rows there are, in the shortest table."""
    limits: dict[str, int] = {}
    for family in families.values():
        body = kinds[family.attributes["kind"]].regions[0].blocks[0]
        for op in body:
            if op.name == "mk.embedding" and op.operands[1] in body.arguments:
                name = str(family.attributes["operands"][op.operands[1].index])
                rows = (op.operands[0].type.shape[0] or 0) - op.attributes.get("offset", 0)
                limits[name] = min(limits.get(name, rows), rows)
    return limits


def _abi(module: Module, names: native.AbiText) -> tuple[Abi, int]:
    arrays, request_bytes = module.request_arrays()
    abi = Abi(
        instruction_words=32,
        context_words={name: index for name, index, _ in names["context"]}["words"],
        instruction=[{"name": name, "index": index, "doc": doc} for name, index, doc in names["instruction"]],
        context=[
            {"name": name, "index": index, "doc": doc}
            for name, index, doc in names["context"]
            if name != "words"
        ],
        request=[
            {"name": name, "type": type, "count": count, "offset": offset, "doc": names["request_docs"][name]}
            for name, type, count, offset in arrays
        ],
    )
    return abi, request_bytes
