# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times, and what a reader must know of the program to make sense of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import InputError
from mk.measure import read_ceiling
from mk.report import attended_bytes, tile_bytes

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest
    from mk.program import Program
    from mk.runtime.engine import Engine
    from mk.runtime.times import Times

#: One instruction of one worker in one step. Times in nanoseconds; of the wait only (`family`'s body does not run) if
#: `body` is false. `ring`: how long the body waited for tiles.
TASK = np.dtype(
    [
        *((name, np.int32) for name in ("step", "worker", "instruction", "family", "begin", "end")),
        ("body", np.bool_),
        *(
            (name, np.int64)
            for name in ("weight_bytes", "wait_begin", "body_begin", "body_end", "signalled", "ring")
        ),
    ]
)


@dataclass(frozen=True)
class Family:
    """All tasks of an operator: `kind`, `kind_class` and `window` as in the manifest, the model's `module` path."""

    name: str
    kind: str
    kind_class: str
    module: str
    window: int = 0


@dataclass(frozen=True)
class Step:
    """`number` since the engine was made, its `tokens`, and the `kv_bytes` of the cache that its attention looks at,
    each position of a slot once: of the last positions of each of its `contexts`, as many as a window has."""

    number: int
    tokens: int
    kv_bytes: int
    contexts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """The last steps of an engine.

    `name` says what ran; `workers` is how many there are; `ceiling`: bytes per second that the machine reads at most, 0
    if unknown; `families` in the model's order; `steps`, the oldest first; `tasks`: TASK [tasks] by step, worker and
    instruction, of which `step` and `family` count in these lists; `events`: by worker and instruction, what a task
    waits for, if anything.
    """

    name: str
    workers: int
    ceiling: float
    families: list[Family]
    steps: list[Step]
    tasks: np.ndarray[Any, Any]
    events: dict[tuple[int, int], str]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes a Perfetto trace. Raises MkError if `perfetto` is not installed, OSError if the file cannot be."""
        from mk.timeline.pftrace import write

        write(self, path)


def of(engine: Engine) -> Timeline:
    """What the last steps of an engine did; measures the ceiling, which takes part of a second.

    Raises InputError unless the program was compiled with `trace=True`, and if no step has run.
    """
    times = engine.times()
    return collect(engine.program, times, read_ceiling(engine.program.manifest))


def open_traced(model: str, path: Path, progress: Callable[[str], None]) -> Program:
    """The program of a model or package, whose steps are to be written to `path`.

    Raises InputError for a package that notes no times or a folder that is not there, MkError if `perfetto` is not
    installed: before there is anything to lose.
    """
    from mk.llm import is_package, open_program
    from mk.timeline.pftrace import proto

    proto()
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    compiled = is_package(Path(model))
    program = open_program(model, progress=progress, **({} if compiled else {"trace": True}))
    if not program.manifest["options"].get("trace"):
        raise InputError(f"{model}: notes no times; make it with mk compile --trace")
    return program


def collect(program: Program, times: Times, ceiling: float) -> Timeline:
    """The times of a program, with its tables and sizes."""
    manifest = program.manifest
    target = manifest["target"]
    if not len(times.tokens):
        raise InputError("there are no times: no step has run")
    kinds = {kind["name"]: kind for kind in manifest["kinds"]}
    families = [
        Family(family["name"], kind["name"], kind["kind_class"], family["module"], kind.get("window", 0))
        for family in manifest["families"]
        for kind in [kinds[family["kind"]]]
    ]
    steps = [
        Step(times.first + i, tokens, round(sum(attended_bytes(manifest, n) for n in contexts)), contexts)
        for i, (tokens, contexts) in enumerate(zip(times.tokens.tolist(), times.contexts, strict=True))
    ]
    return Timeline(
        f"{program.facts.name or 'model'} for {target['kind']} {target['cpu']}",
        target["workers"],
        ceiling,
        families,
        steps,
        _tasks(program, times),
        _events(program),
    )


def _tasks(program: Program, times: Times) -> np.ndarray[Any, Any]:
    manifest, table, counts = program.manifest, program.arrays["table"], program.arrays["counts"]
    at = {field["name"]: field["index"] for field in manifest["abi"]["instruction"]}
    exists = np.arange(table.shape[1]) < counts[:, None]
    step, worker, instruction = np.nonzero(np.broadcast_to(exists, times.stamps.shape[:3]))
    words = table[worker, instruction]
    tasks = np.zeros(len(step), TASK)
    tasks["step"], tasks["worker"], tasks["instruction"] = step, worker, instruction
    for name in ("family", "begin", "end"):
        tasks[name] = words[:, at[name]]
    tasks["body"] = words[:, at["kind"]] >= 0
    unit = np.array([tile_bytes(manifest, family) for family in manifest["families"]], np.int64)
    of_rows = {kind["name"] for kind in manifest["kinds"] if kind["domain"] == "rows"}
    always = np.array([family["kind"] not in of_rows for family in manifest["families"]])
    works = tasks["body"] & (
        always[tasks["family"]] | (times.rows[step] > 0)
    )  # without rows there is no product
    tasks["weight_bytes"] = (tasks["end"] - tasks["begin"]) * unit[tasks["family"]] * works
    stamps = times.stamps[step, worker, instruction]
    for i, name in enumerate(("wait_begin", "body_begin", "body_end", "signalled", "ring")):
        tasks[name] = stamps[:, i]
    return tasks


def _events(program: Program) -> dict[tuple[int, int], str]:
    manifest: Manifest = program.manifest
    at = {field["name"]: field["index"] for field in manifest["abi"]["instruction"]}
    table, names = program.arrays["table"], manifest["events"]
    found = {}
    for worker, instruction in np.argwhere(table[:, :, at["waits"]] > 0).tolist():
        words = table[worker, instruction]
        first = at["wait_event"]
        events = words[first : first + words[at["waits"]]].tolist()
        found[worker, instruction] = ", ".join(names[event] for event in events)
    return found
