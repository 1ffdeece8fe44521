# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where a step's time goes: bytes, time and waits of every family, and their sums by kind and by layer.

All numbers are of the average step of a timeline. Of a step, families are taken in the model's order, and

* `bytes`: what has to be read: the family's weight tiles, and, for attention, its layer's share of the KV cache, each
  position of a slot once. Embedding rows, norms, activations and whatever is read twice do not count;
* `time`: from when all families before it have ended (the begin of the step, for the first) until all tasks of it have
  ended too; 0 if it ends before. So the times of all families add up to the step;
* `exposed`: the part of `time` in which no task of it had begun: the way from the last signal to the first body. It
  belongs to no arithmetic and to no reading, unless a loader reads ahead;
* `wait`: how long a worker waited for events before the family's tasks, in the average over all workers;
* `ring`: how long it waited for weight tiles within them, in the same average; 0 on a CPU, which has no ring;
* `busy`: the rest of the tasks' bodies, in the same average.

`bytes / (time * ceiling)` is the share of the ceiling. A loader that reads ahead moves bytes within the time of the
families before, so one family's share may be above 1; a step's is not, unless a cache holds its bytes. On a GPU, tasks
that look at flagged words wait within their bodies, and that counts as busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mk.timeline.timeline import Family, Timeline


@dataclass(frozen=True)
class Row:
    """One line of a profile, of the average step. Bytes; seconds. `families`: how many it stands for."""

    name: str
    families: int
    bytes: float
    time: float
    exposed: float
    wait: float
    ring: float
    busy: float

    def share(self, ceiling: float) -> float:
        """Of what the machine could have read in that time; 0 if either is unknown."""
        return self.bytes / (self.time * ceiling) if self.time and ceiling else 0.0


def profile(timeline: Timeline) -> list[Row]:
    """A row for each family, in the model's order."""
    steps = [_of_step(timeline, i) for i in range(len(timeline.steps))]
    mean = np.mean(steps, axis=0).tolist()
    return [Row(family.name, 1, *values) for family, values in zip(timeline.families, mean, strict=True)]


def by_kind(timeline: Timeline, rows: list[Row]) -> list[Row]:
    """The sums over the families of each kind."""
    return _grouped(timeline, rows, lambda family: family.kind)


def by_layer(timeline: Timeline, rows: list[Row]) -> list[Row]:
    """The sums over the families of each layer: by the module path up to its first number; `other` has none."""
    return _grouped(timeline, rows, lambda family: layer_of(family.module) or "other")


def total(rows: Iterable[Row], name: str) -> Row:
    """The sum of rows."""
    rows = list(rows)
    fields = ("families", "bytes", "time", "exposed", "wait", "ring", "busy")
    return Row(name, *(sum(getattr(row, field) for row in rows) for field in fields))


def layer_of(module: str) -> str:
    """`model.layers.3` of `model.layers.3.mlp.down_proj`; empty if the path has no number."""
    names = module.split(".")
    numbers = (i for i, name in enumerate(names) if name.isdigit())
    return ".".join(names[: next(numbers, -1) + 1])


def _grouped(timeline: Timeline, rows: list[Row], key: Callable[[Family], str]) -> list[Row]:
    groups: dict[str, list[Row]] = {}
    for family, row in zip(timeline.families, rows, strict=True):
        groups.setdefault(key(family), []).append(row)
    return [total(group, name) for name, group in groups.items()]


def _of_step(timeline: Timeline, step: int) -> np.ndarray[Any, Any]:
    """Bytes, time, exposed, wait, ring and busy of each family: float64 [families, 6]."""
    tasks, families = timeline.tasks[timeline.tasks["step"] == step], timeline.families
    family, count = tasks["family"], len(families)

    def summed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.bincount(family, values, count)

    contexts = timeline.steps[step].contexts or (1,)
    seen = np.array(
        [(f.kind_class == "attend") * sum(min(n, f.window or n) for n in contexts) for f in families]
    )
    bytes = summed(tasks["weight_bytes"]) + seen * (timeline.steps[step].kv_bytes / max(seen.sum(), 1))
    ran = tasks[tasks["body"]]
    begin, end = np.full(count, np.iinfo(np.int64).max), np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(begin, ran["family"], ran["body_begin"])
    np.maximum.at(end, ran["family"], ran["signalled"])
    before = np.maximum.accumulate(np.concatenate([[tasks["wait_begin"].min()], end]))[:-1]
    time = np.maximum(end - before, 0)
    exposed = np.clip(begin - before, 0, time)
    body, ring = tasks["body_end"] - tasks["body_begin"], tasks["ring"]
    each = [summed(tasks["body_begin"] - tasks["wait_begin"]), summed(ring), summed(body - ring)]
    return np.stack(
        [bytes, *(v * 1e-9 for v in (time, exposed, *(v / timeline.workers for v in each)))], axis=1
    )
