# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is inside a program, for `mk explain`: kinds, tasks, bytes, events, balance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mk.runtime.gpu.check import BLOCK_BYTES, tile_blocks
from mk.runtime.packing import ELEMENT_BYTES
from mk.runtime.validate import ONLY_WAITS

if TYPE_CHECKING:
    from mk.compiler.manifest import Family, Manifest
    from mk.program import Program


@dataclass
class KindReport:
    """All tasks of one kind: how many, of how many families, and the weight bytes that a step streams for them."""

    name: str
    kind_class: str
    families: set[str] = field(default_factory=set)
    tasks: int = 0
    units: int = 0
    weight_bytes: int = 0


@dataclass
class WorkerReport:
    """One worker's list: tasks, waits and signals in it, and the weight bytes that it streams in a step."""

    tasks: int = 0
    waits: int = 0
    signals: int = 0
    weight_bytes: int = 0


@dataclass
class Report:
    """The whole program."""

    kinds: list[KindReport]
    workers: list[WorkerReport]

    @property
    def balance(self) -> float:
        """Weight bytes of the average worker over those of the busiest, 1.0 at best."""
        most = max((w.weight_bytes for w in self.workers), default=0)
        return sum(w.weight_bytes for w in self.workers) / len(self.workers) / most if most else 1.0


def report(program: Program) -> Report:
    """Counts the instructions of the table."""
    manifest, table = program.manifest, program.arrays["table"]
    at = {field["name"]: field["index"] for field in manifest["abi"]["instruction"]}
    kinds = [KindReport(kind["name"], kind["kind_class"]) for kind in manifest["kinds"]]
    unit_bytes = [tile_bytes(manifest, family) for family in manifest["families"]]
    workers = []
    for words, count in zip(table, program.arrays["counts"].tolist(), strict=True):
        worker = WorkerReport()
        for instruction in words[:count].tolist():
            worker.waits += instruction[at["waits"]]
            if instruction[at["kind"]] == ONLY_WAITS:
                continue
            worker.tasks += 1
            family, kind = instruction[at["family"]], kinds[instruction[at["kind"]]]
            units = instruction[at["end"]] - instruction[at["begin"]]
            kind.families.add(manifest["families"][family]["name"])
            kind.tasks += 1
            kind.units += units
            kind.weight_bytes += units * unit_bytes[family]
            worker.weight_bytes += units * unit_bytes[family]
            worker.signals += instruction[at["signal"]] >= 0
        workers.append(worker)
    return Report(kinds, workers)


def step_bytes(manifest: Manifest) -> int:
    """Bytes of weight tiles that a step of one token reads, padding included: of experts those that it chooses."""
    units = {kind["name"]: kind["units"] for kind in manifest["kinds"]}
    return sum(units[family["kind"]] * tile_bytes(manifest, family) for family in manifest["families"])


def kv_bytes(manifest: Manifest) -> int:
    """Bytes of keys and values of one position."""
    cache = manifest["cache"]
    if cache is None:
        return 0
    return cache["layers"] * cache["heads"] * 2 * cache["head_dim"] * ELEMENT_BYTES[cache["dtype"]]


def attended_bytes(manifest: Manifest, length: float) -> float:
    """Bytes of keys and values that attention looks at for a sequence of `length` tokens, one at a time."""
    windows = {
        kind["name"]: kind.get("window", 0) for kind in manifest["kinds"] if kind["kind_class"] == "attend"
    }
    seen = [min(length, windows[f["kind"]] or length) for f in manifest["families"] if f["kind"] in windows]
    return kv_bytes(manifest) * sum(seen) / max(len(seen), 1)


def tile_bytes(manifest: Manifest, family: Family) -> int:
    """Bytes of one unit's weight tile, of all experts that a token chooses, padding included; 0 for a family that
    streams none."""
    kind = next(k for k in manifest["kinds"] if k["name"] == family["kind"])
    if kind["kind_class"] not in ("tiles", "experts"):
        return 0
    matrices = kind["matrices"] if kind["kind_class"] == "experts" else 1
    for weight in manifest["weights"]:
        if weight["name"] in family["operands"] and weight["layout"] == "tiles":
            if manifest["target"]["kind"] == "gpu":
                return matrices * tile_blocks(weight["shape"][-1]) * BLOCK_BYTES
            per_word = 4 // ELEMENT_BYTES[weight["dtype"]]
            words = -(-weight["shape"][-1] // per_word) * 2 * manifest["target"]["lanes"]
            return matrices * words * 4
    return 0
