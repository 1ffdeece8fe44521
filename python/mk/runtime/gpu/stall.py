# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Who waited for what, when a run on the GPU gave itself up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest

# int64 for each worker: state (1: stuck), instruction, event (negative: see _WAITS), the count, slot or step it saw
WORDS = 4
# What else there is to wait for; from -3 on, by RingWait of the mk_cta dialect, within the worker.
_WAITS = {
    -1: ("the end of the step", "which has seen"),
    -2: ("words of its input that nobody has written", ""),
    -3: ("the ring: a slot that its loader fills", "slot"),
    -4: ("the ring: a slot that its consumers give back", "slot"),
    -5: ("the ring: copies that its loader has asked for", "slot"),
    -6: ("the ring: its consumers to begin a step", "step"),
    -7: ("the ring: its loader to have read a step", "step"),
    -8: ("the ring: its consumers to leave", ""),
}


def stall_text(records: np.ndarray[Any, Any], table: np.ndarray[Any, Any], manifest: Manifest) -> str | None:
    """One line about every stuck worker, those in the same place together; None if no worker is stuck.

    `records`: int64 [workers, WORDS]; `table`: int32 [workers, instructions, 32].
    """
    places: dict[tuple[int, int], list[int]] = {}
    seen: dict[tuple[int, int], set[int]] = {}
    word = next(field["index"] for field in manifest["abi"]["instruction"] if field["name"] == "family")
    for worker in np.flatnonzero(records[:, 0] == 1).tolist():
        _, instruction, event, count = records[worker].tolist()
        inside = 0 <= instruction < table.shape[1]
        place = (int(table[worker, instruction, word]) if inside else -1, event)
        places.setdefault(place, []).append(worker)
        seen.setdefault(place, set()).add(count)
    if not places:
        return None
    stuck = "; ".join(
        f"{_workers(workers)} in {_family(place[0], manifest)}: waiting for {_event(place[1], seen[place], manifest)}"
        for place, workers in places.items()
    )
    return f"the program made no progress: {stuck}; make a new engine"


def _family(index: int, manifest: Manifest) -> str:
    if not 0 <= index < len(manifest["families"]):
        return "an unknown task"
    family = manifest["families"][index]
    return f"{family['name']} ({family['module'] or 'no module'})"


def _event(index: int, seen: set[int], manifest: Manifest) -> str:
    name = f" ({manifest['events'][index]})" if 0 <= index < len(manifest["events"]) else ""
    what, how = _WAITS.get(index, (f"event {index}{name}", "which has seen"))
    return what + (f", {how} {_numbers(sorted(seen))}" if how else "")


def _workers(workers: list[int]) -> str:
    return f"{'worker' if len(workers) == 1 else 'workers'} {_numbers(workers)}"


def _numbers(values: list[int]) -> str:
    """Ascending numbers with their ranges: 0-3, 7."""
    ranges: list[list[int]] = []
    for value in values:
        if ranges and value == ranges[-1][1] + 1:
            ranges[-1][1] = value
        else:
            ranges.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
