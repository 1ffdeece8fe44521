# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The table as a person can read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mk.compiler.manifest import Manifest
from mk.runtime.validate import ONLY_WAITS

Array = np.ndarray[Any, Any]


def table_text(manifest: Manifest, table: Array, counts: Array) -> str:
    """One line for each instruction of each worker: what it runs, what it waits for, what it signals.

    worker 0, 212 instructions
         0  model.embed_tokens            columns  units 0..9     signal e0
         1  model.layers.0.self_attn.qkv  tiles    units 0..15    wait e0 x2            signal e1
    """
    return "\n".join(_lines(manifest, table, counts)) + "\n"


def _lines(manifest: Manifest, table: Array, counts: Array) -> Iterator[str]:
    field = {one["name"]: one["index"] for one in manifest["abi"]["instruction"]}
    kinds, families, events = manifest["kinds"], manifest["families"], manifest["events"]
    width = max((len(family["name"]) for family in families), default=0)
    for worker, count in enumerate(counts):
        yield f"worker {worker}, {count} instructions"
        for number, words in enumerate(table[worker, :count].tolist()):
            waits = [
                _wait(
                    events[words[field["wait_event"] + i]],
                    words[field["wait_arrivals"] + i],
                    words[field["wait_lag"] + i],
                )
                for i in range(words[field["waits"]])
            ]
            signal = words[field["signal"]]
            kind = words[field["kind"]]
            parts = [
                f"{number:6}  {families[words[field['family']]]['name']:{width}}",
                f"{'' if kind == ONLY_WAITS else kinds[kind]['kind_class']:7}",
                f"units {words[field['begin']]}..{words[field['end']]}",
                *(f"if {condition}" for condition in families[words[field["family"]]]["conditions"]),
                *waits,
                *([f"signal {events[signal]}"] if signal >= 0 else []),
            ]
            yield "  ".join(parts)


def _wait(event: str, arrivals: int, lag: int) -> str:
    return f"wait {event} x{arrivals}" + (" of the step before" if lag else "")
