# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The texts of `mk explain`: what a package holds, and where the time of its steps went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mk.report import kv_bytes, report, tile_bytes

if TYPE_CHECKING:
    from mk.program import Program
    from mk.timeline import Timeline
    from mk.timeline.profile import Row


def explain(program: Program) -> None:
    """Prints the report of a program."""
    manifest, found, mib = program.manifest, report(program), 2.0**20
    sizes, target, arenas = manifest["sizes"], manifest["target"], manifest["arenas"]
    name = program.facts.name or "model"
    print(f"{name} for {target['kind']} {target['cpu']}, made by mk {manifest['version']}")
    print(f"features    {', '.join(target['features']) or 'none'}")
    print(f"sizes       {', '.join(f'{name} {value}' for name, value in sizes.items())}")
    launch = manifest["gpu"]
    print(f"code        {len(program.code) / mib:.2f} MiB, {len(manifest['kinds'])} kinds")
    for kernel in launch["kernels"] if launch else ():
        print(
            f"kernel      {kernel['name']}, up to {kernel['tokens']} tokens: {kernel['registers']} registers a thread, "
            f"{kernel['spills']} bytes of spills"
        )
    print(
        f"weights     {arenas['stream'] / mib:.1f} MiB streamed in a step, {arenas['params'] / mib:.1f} MiB looked up"
    )
    print(
        f"memory      {arenas['activations'] / mib:.1f} MiB of activations, {kv_bytes(manifest) / 2**10:.1f} KiB of KV "
        "cache for each position"
    )
    print(f"events      {len(manifest['events'])}")
    if conditional := [family for family in manifest["families"] if family["conditions"]]:
        units = {kind["name"]: kind["units"] for kind in manifest["kinds"]}
        passed = sum(units[family["kind"]] * tile_bytes(manifest, family) for family in conditional)
        print(
            f"conditions  {len(conditional)} of {len(manifest['families'])} families, with {passed / mib:.1f} MiB of "
            "weights, are passed over in steps that take another side"
        )
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


def explain_times(timeline: Timeline, ceiling: float, listing: bool) -> None:
    """Prints the profile of a timeline; mk.timeline.profile says what the columns mean.

    `ceiling`: bytes per second that the machine reads at most, 0 if unknown. `listing`: also a line for each family.
    """
    from mk.timeline.profile import by_kind, by_layer, profile, total

    rows, steps = profile(timeline), timeline.steps
    print(f"{timeline.name}, {timeline.workers} workers")
    tokens = sorted({step.tokens for step in steps})
    print(f"steps       {len(steps)}, of {' or '.join(map(str, tokens))} tokens; below is the average step")
    print(f"ceiling     {f'{ceiling / 1e9:.1f} GB/s read' if ceiling else 'unknown: give --ceiling GB/S'}")
    print("us          from the end of all before to its own; exposed: of that, until its first task begins")
    print("wait, ring  for events, and for weights within tasks, like busy on the average worker")
    groups = {"kinds": by_kind(timeline, rows), "layers": by_layer(timeline, rows)}
    if listing:
        groups["families"] = rows
    for name, group in groups.items():
        print(f"\n{name}")
        _table(
            ("name", "families", "MiB", "us", "of ceiling", "exposed us", "wait us", "ring us", "busy us"),
            [_cells(row, ceiling) for row in [*group, total(rows, "step")]],
        )


def _cells(row: Row, ceiling: float) -> tuple[object, ...]:
    times = (row.exposed, row.wait, row.ring, row.busy)
    share = f"{100 * row.share(ceiling):.1f} %" if row.bytes and row.share(ceiling) else "-"
    return (
        row.name, row.families, f"{row.bytes / 2**20:.2f}", f"{row.time * 1e6:.1f}", share,
        *(f"{time * 1e6:.1f}" for time in times),
    )  # fmt: skip


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
