# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Stopping at a level of the compiler, and going on from there: to look, to edit, to try what the compiler does not."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mk.build import assemble, facts_of, find_place, model_files, options_for
from mk.errors import CompileError
from mk.program import Facts, Program, load

if TYPE_CHECKING:
    from mk.compiler import Options
    from mk.ir import Module

Progress = Callable[[str], None]


def lower_module(
    model: Any,
    to: str,
    *,
    inputs: Any = None,
    dynamic: Any = None,
    progress: Progress | None = None,
    dump: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Module:
    """The module of a model at a level (torch, mk, fused, plan, cta or llvm), without the cache; to look at it.

        >>> module = mk.lower_module("path/of/a/model", to="fused", dtype="float32")
        >>> print(module.text(locations=True))

    `model`, `inputs`, `dynamic` and `options`: see `mk.compile_module`. `dump`: a folder for the module after each
    level on the way. Raises CompileError if the model, an option or the level is not supported.
    """
    from mk.compiler import lower_text
    from mk.importer import import_model

    if inputs is not None:
        from mk.build_function import import_sized

        own, sized = import_sized(model, inputs, dynamic, options, progress)
        return lower_text(own.text, sized, to, dump)
    place = find_place(model)
    imported = import_model(place if place is not None else model, progress=progress)
    return lower_text(imported.text, options_for(imported, options), to, dump)


def compile_ir(
    ir: Module | str | os.PathLike[str],
    model: Any = None,
    *,
    progress: Progress | None = None,
    dump: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Program:
    """Compiles a module of level torch, mk, fused or plan, its text or a file of it: on from `lower_module` or a dump.

        >>> text = mk.lower_module(model, to="fused").text(locations=True)
        >>> program = mk.compile_ir(text.replace(...), model)

    `model`: what the module was made from, as `mk.compile_module` takes it, or a program or package of it, which is
    quicker. From there come constants, tokenizer, special tokens and the place of the weights. Without a model the
    program has none of them: give `engine(weights=...)` a mapping with every name of `Program.parameters()`.

    `options`: see `mk.compiler.Options`; by default what the module was made with, of which only a max_length within
    a page is not in it. From level fused on they come too late, from level mk on the dtype does, and others than the
    module's are refused. A plan is proved again, as edited. `ir` is not changed, and nothing is cached.

    Raises CompileError, or its PassError with the place in the text, if the module does not compile.
    """
    from mk.compiler import compile_text
    from mk.compiler.driver import find_level
    from mk.ir import Module

    if isinstance(ir, os.PathLike):
        ir = _read(Path(ir))
    module = Module.parse(ir) if isinstance(ir, str) else ir
    if not isinstance(module, Module):
        raise CompileError(
            f"expected an mk.ir.Module, its text or the path of a file, found {type(ir).__name__}"
        )
    level = find_level(module)
    chosen = _options(module, level, options)
    began = time.perf_counter()
    base = _base(model, progress)
    if level in ("torch", "mk") and base.facts.max_length is not None:
        chosen = dataclasses.replace(chosen, max_length=min(chosen.max_length, base.facts.max_length))
    imported = time.perf_counter()
    if progress is not None:
        progress("compile")
    compiled = compile_text(module.text(generic=level == "torch", locations=True), chosen, dump)
    program = assemble(compiled, base.constants, base.facts)
    program.files, program.source, program.weights = base.files, base.source, base.weights
    program.seconds = {"import": imported - began, "compile": time.perf_counter() - imported}
    return program


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CompileError(f"{path}: cannot be read as the text of a module: {error}") from error


@dataclasses.dataclass
class _Base:
    """What a program has besides its code; see `Program`."""

    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Facts = dataclasses.field(default_factory=Facts)
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    source: str | None = None
    weights: Any = None


def _base(model: Any, progress: Progress | None) -> _Base:
    if model is None:
        return _Base()
    if isinstance(model, str | os.PathLike) and Path(model).suffix == ".mkp":
        model = load(model)
    if isinstance(model, Program):
        return _Base(model.constants, model.facts, model.files, model.source, model.weights)
    from mk.importer import import_model

    place = find_place(model)
    imported = import_model(place if place is not None else model, progress=progress)
    return _Base(
        imported.constants,
        facts_of(imported),
        model_files(place if place is not None else getattr(model, "name_or_path", None)),
        os.fspath(place) if place is not None else None,
        imported.weights,
    )


def _options(module: Module, level: str, given: Mapping[str, Any]) -> Options:
    """`given`, and what the module says for the rest. Raises CompileError if `given` comes too late for this level."""
    from mk.compiler import Options
    from mk.compiler.driver import LEVELS

    Options.of(**given)  # a name that is wrong is no option at all
    if level not in LEVELS[: LEVELS.index("plan") + 1]:
        raise CompileError(f"the module is at level {level}; code comes from one at torch, mk, fused or plan")
    stated = _stated(module, level)
    made = Options.of(**{**stated, **given})
    fixed = {"torch": (), "mk": ("dtype",)}.get(level, (*stated, "target", "without"))
    for name in given:
        if name not in fixed or stated.get(name) == given[name]:
            continue
        if name == "max_length" and made.length == stated[name]:
            continue  # a module counts whole pages, so this is still to be said
        found = f"made with {stated[name]}" if name in stated else f"past the choice of {name}"
        raise CompileError(
            f"option {name} is {given[name]}, but the module at level {level} was {found}; give it to mk.lower_module"
        )
    return made


def _stated(module: Module, level: str) -> dict[str, Any]:
    """The options that a module of this level was made with, as far as it says so."""
    stated: dict[str, Any] = {}
    if level != "torch":
        types = {value.type for op in module.walk() if op.name == "mk.weight" for value in op.results}
        types |= {op.attributes["type"] for op in module.walk() if op.name == "mk_task.weight"}
        stated["dtype"] = "bfloat16" if any("bf16" in text for text in types) else "float32"
    attributes = module.operation.attributes
    if {"mk.options", "mk.target"} <= set(attributes):
        stated |= {name: int(value) for name, value in attributes["mk.options"].fields.items()}
        stated["workers"] = int(attributes["mk.target"].fields["workers"])
    return stated
