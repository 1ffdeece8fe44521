# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The text of `mk explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mk.report import kv_bytes, report

if TYPE_CHECKING:
    from mk.program import Program


def explain(program: Program) -> None:
    """Prints the report of a program."""
    manifest, found, mib = program.manifest, report(program), 2.0**20
    sizes, target, arenas = manifest["sizes"], manifest["target"], manifest["arenas"]
    name = program.facts.name or "model"
    print(f"{name} for {target['kind']} {target['cpu']}, made by mk {manifest['version']}")
    print(f"features    {', '.join(target['features']) or 'none'}")
    print(f"sizes       {', '.join(f'{name} {value}' for name, value in sizes.items())}")
    launch = manifest["gpu"]
    registers = (
        f", {launch['registers']} registers a thread, {launch['spills']} bytes of spills" if launch else ""
    )
    print(f"code        {len(program.code) / mib:.2f} MiB, {len(manifest['kinds'])} kinds{registers}")
    print(
        f"weights     {arenas['stream'] / mib:.1f} MiB streamed in a step, {arenas['params'] / mib:.1f} MiB looked up"
    )
    print(
        f"memory      {arenas['activations'] / mib:.1f} MiB of activations, {kv_bytes(manifest) / 2**10:.1f} KiB of KV "
        "cache for each position"
    )
    print(f"events      {len(manifest['events'])}")
    print("\nkinds")
    _table(
        ("name", "class", "families", "tasks", "units", "weights MiB"),
        [
            (k.name, k.kind_class, len(k.families), k.tasks, k.units, f"{k.weight_bytes / mib:.2f}")
            for k in found.kinds
        ],
    )
    print(f"\nworkers, balance {100 * found.balance:.1f} %")
    _table(
        ("worker", "tasks", "waits", "signals", "weights MiB"),
        [
            (n, w.tasks, w.waits, w.signals, f"{w.weight_bytes / mib:.2f}")
            for n, w in enumerate(found.workers)
        ],
    )


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Prints aligned columns, the first to the left."""
    texts = [head, *(tuple(str(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    for row in texts:
        print(
            row[0].ljust(widths[0]),
            *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)),
            sep="  ",
        )
