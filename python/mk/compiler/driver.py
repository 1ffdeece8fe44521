# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From the text of an imported model to a compiled program, level by level."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mk import __version__
from mk.compiler.extract import extract
from mk.compiler.manifest import Gpu, Kernel, Manifest
from mk.compiler.options import Options
from mk.compiler.ptxas import Report, assemble
from mk.compiler.table import table_text
from mk.compiler.target import Target, find_target, with_attribute
from mk.errors import CompileError
from mk.ir import Module, native

LEVELS = ("torch", "mk", "fused", "plan", "cta", "llvm")  # in the order of the dumps; the first is the input
# The last pipeline that adds to the program; the one after it turns the program into code.
# What leaves a program complete: the pipeline after it turns the program into code.
LAST_OF_PROGRAM = ("mk-kinds-pipeline", "mk-gpu-kinds-pipeline")


@dataclass
class Compiled:
    """A compiled program as plain data; mk.compiler.manifest describes it. `seconds` are by level, for reports."""

    manifest: Manifest
    arrays: dict[str, np.ndarray[Any, Any]]
    code: bytes
    seconds: dict[str, float] = field(default_factory=dict)


def compile_text(
    text: str, options: Options | None = None, dump: str | os.PathLike[str] | None = None
) -> Compiled:
    """Compiles the text of an imported model (`ImportedModel.text`), or of a later level.

        >>> compiled = compile_text(imported.text, Options(dtype="float32"), dump="levels")

    With `dump`, that folder receives the module after each level, `1.torch.mlir` to `6.llvm.mlir`, and `table.txt`.
    Raises CompileError naming the module of the model; a failing pass leaves a file to replay it.
    """
    lowering = Lowering(text, options or Options(), dump)
    lowering.to("llvm")
    return lowering.emit()


def lower_text(
    text: str, options: Options | None = None, to: str = "llvm", dump: str | os.PathLike[str] | None = None
) -> Module:
    """Like `compile_text`, but stops at a level, one of LEVELS, and returns the module.

    >>> print(lower_text(imported.text, to="fused"))
    """
    lowering = Lowering(text, options or Options(), dump)
    lowering.to(to)
    return lowering.module


def kernels_of(reports: Sequence[Report], manifest: Manifest) -> list[Kernel]:
    """The kernels that run the table: the entry, and those for fewer tokens, whose names end in their number."""
    found = []
    for report in reports:
        few = re.fullmatch(rf"{manifest['entry']}(?:_(\d+))?", report["name"])
        if few:
            tokens = int(few[1] or manifest["sizes"]["max_tokens"])
            registers, spills = report["registers"], report["spills"]
            found.append(Kernel(name=report["name"], tokens=tokens, registers=registers, spills=spills))
    return sorted(found, key=lambda kernel: kernel["tokens"])


class Lowering:
    """One model on its way through the levels; `module` is where it stands."""

    def __init__(self, text: str, options: Options, dump: str | os.PathLike[str] | None = None) -> None:
        self.options = options
        self.target: Target = find_target(options.target, options.workers)
        if options.trace and self.target.kind == "cpu" and self.target.arch != "x86_64":
            raise CompileError(
                f"option trace: programs for x86_64 and for GPUs note times, those for {self.target.arch} do not"
            )
        self.seconds: dict[str, float] = {}
        self._dump = None if dump is None else Path(dump)
        self._plan: tuple[Manifest, dict[str, np.ndarray[Any, Any]]] | None = None
        began = time.perf_counter()
        self.module = Module.parse(text, name="model")
        self.level = find_level(self.module)
        present = self.module.operation.attributes
        for name, text in (("mk.target", self.target.attribute()), ("mk.options", options.attribute())):
            # From the fused level on the program is made for the sizes that it states.
            if name not in present or LEVELS.index(self.level) < LEVELS.index("fused"):
                self.module.set_attribute(name, text)
        self.target = with_attribute(self.target, self.module.operation.attributes["mk.target"])
        if self.level == "plan":  # somebody may have edited it since it was proved
            self.module.run("mk-verify-schedule")
        self._reached(self.level, began)

    def to(self, level: str) -> None:
        """Runs the pipelines up to `level`. Raises CompileError if it is unknown or already behind."""
        if level not in LEVELS:
            raise CompileError(f"unknown level {level}; there is {', '.join(LEVELS)}")
        if LEVELS.index(level) < LEVELS.index(self.level):
            raise CompileError(f"the module is at level {self.level}, past {level}")
        for following in LEVELS[LEVELS.index(self.level) + 1 : LEVELS.index(level) + 1]:
            began = time.perf_counter()
            for passes in pipelines(following, self.options, self.target.kind):
                self.module.run(passes, reproducer=self._reproducer())
                if passes in LAST_OF_PROGRAM:
                    self._plan = extract(self.module, self.options, self.target, __version__)
            self._reached(following, began)

    def emit(self) -> Compiled:
        """The program's code and data, from level llvm."""
        if self.level != "llvm" or self._plan is None:
            raise CompileError(
                f"the module is at level {self.level}; code comes from a model or plan lowered to llvm"
            )
        manifest, arrays = self._plan
        began = time.perf_counter()
        code = self.module.emit_object(self.target.cpu, self.target.llvm_features)
        if self.target.kind == "gpu":
            cubin, reports = assemble(code.decode(), self.target.cpu)
            # All kernels of the table have the threads of the entry.
            (threads,) = {report["threads"] for report in reports if report["name"] == manifest["entry"]}
            kernels = kernels_of(reports, manifest)
            manifest["gpu"] = Gpu(threads=threads, shared=manifest["arenas"]["scratch"], kernels=kernels)
            self.seconds["code"] = time.perf_counter() - began
            return Compiled(manifest, arrays, cubin, self.seconds)
        library, messages = native.link_object(code)
        if library is None:
            raise CompileError(f"the generated code does not link: {messages}")
        self.seconds["code"] = time.perf_counter() - began
        return Compiled(manifest, arrays, library, self.seconds)

    def _reached(self, level: str, began: float) -> None:
        self.level = level
        self.seconds[level] = time.perf_counter() - began
        if self._dump is None:
            return
        files = {
            f"{LEVELS.index(level) + 1}.{level}.mlir": self.module.text(
                generic=level == "torch", locations=True
            )
        }
        if level == "cta" and self._plan is not None:
            manifest, arrays = self._plan
            files["table.txt"] = table_text(manifest, arrays["table"], arrays["counts"])
        try:
            self._dump.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (self._dump / name).write_text(text)
        except OSError as error:
            raise CompileError(f"cannot write the dump to {self._dump}: {error.strerror}") from error

    def _reproducer(self) -> Path:
        if self._dump is not None:
            return self._dump / "mk-reproducer.mlir"
        return Path(tempfile.gettempdir()) / f"mk-reproducer-{os.getpid()}.mlir"


def pipelines(level: str, options: Options, kind: str = "cpu") -> list[str]:
    """The passes that lead to a level from the one before."""
    weight_type = {"bfloat16": "bf16", "float32": "f32"}[options.dtype]
    # On a GPU every worker would join all ranges for itself; a small operator of its own is faster.
    without = {*options.without, "combine"} if kind == "gpu" else options.without
    trace = f"{{trace={str(options.trace).lower()}}}"
    only = [f"{name}=true" for name in ("round", "forward", "attend") if name not in without]
    fusions = " ".join([f"{name}=false" for name in without] + only * (kind == "gpu"))
    return {
        "mk": [f"mk-import-pipeline{{weight-type={weight_type}}}"],
        "fused": [f"mk-fuse-pipeline{{{fusions}}}"],
        "plan": ["mk-plan-pipeline"],
        "cta": ["mk-gpu-kinds-pipeline", f"mk-kernel-pipeline{trace}"]
        if kind == "gpu"
        else ["mk-kinds-pipeline", f"mk-main-pipeline{trace}"],
        "llvm": [f"mk-{kind}-pipeline"],
    }[level]


def find_level(module: Module) -> str:
    """The level of a module that somebody hands in: by what it is made of."""
    names = {op.name for op in module.walk()}
    dialects = {name.split(".")[0] for name in names}
    for dialect, level in (("mk_cta", "cta"), ("mk_task", "plan"), ("torch", "torch")):
        if dialect in dialects:
            return level
    if "mk" in dialects:
        return "fused" if names & {"mk.advance", "mk.finish"} else "mk"
    raise CompileError("expected an imported model or a later level, found no torch, mk or mk_task operation")
