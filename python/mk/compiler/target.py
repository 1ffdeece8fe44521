# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The machine that a program is compiled for."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mk.errors import CompileError

if TYPE_CHECKING:
    from mk.ir import Attribute

_V3 = (
    "avx",
    "avx2",
    "bmi",
    "bmi2",
    "cx16",
    "f16c",
    "fma",
    "lzcnt",
    "movbe",
    "popcnt",
    "sahf",
    "sse3",
    "sse4.1",
    "sse4.2",
    "ssse3",
)
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
PORTABLE = {
    "x86-64-v3": _V3,
    "x86-64-v4": _V4,
}  # LLVM's names of the levels of the x86-64 psABI
# GPUs by architecture, as ptxas names it, for the largest of each that is sold widely. Workers are multiprocessors,
# `shared` is what one CTA may have. Only sm_90a has been run; the others are assembled, and their bandwidths and bytes
# in flight are estimates from data sheets.
_OLD = {"bulk_copy": 0, "set_registers": 0}  # instructions that came with sm_90
GPUS: dict[str, dict[str, int]] = {
    "sm_80": {"workers": 108, "bandwidth": 1935, "shared": 166912, "in_flight": 32768, **_OLD},  # A100
    "sm_89": {"workers": 142, "bandwidth": 864, "shared": 101376, "in_flight": 32768, **_OLD},  # L40S
    "sm_90a": {"workers": 132, "bandwidth": 3150, "shared": 232448, "in_flight": 32768},  # H100, H200
    "sm_100a": {"workers": 148, "bandwidth": 8000, "shared": 232448, "in_flight": 65536},  # B200
    "sm_120a": {"workers": 188, "bandwidth": 1792, "shared": 101376, "in_flight": 32768},  # RTX PRO 6000
}
TARGETS = ("auto", *PORTABLE, *GPUS)

# What arithmetic can use. A package runs wherever these exist, so what code never uses (sgx, clflushopt) is left out.
_USEFUL = re.compile(
    r"(cx16|popcnt|sahf|movbe|fma|f16c|lzcnt|bmi2?|s?sse[\d.]+|avx.*|amx.*|"
    r"neon|fp-armv8|dotprod|bf16|i8mm|fullfp16|fp16fml|sve.*)$"
)
# What #mk.target says only where it is otherwise: as on an sm_90a.
_USUAL = {"registers": 65536, "bulk_copy": 1, "set_registers": 1, "mma_bf16": 1}
_GB_PER_CORE = 12  # a core of today reads about this much per second on its own


@dataclass(frozen=True)
class Target:
    """As in `#mk.target`, with the architecture (as `uname -m` has it) and LLVM's name of the processor."""

    arch: str
    cpu: str
    features: tuple[str, ...]
    workers: int
    bandwidth: int
    kind: str = "cpu"
    shared: int = 0
    in_flight: int = 0
    registers: int = 65536
    bulk_copy: int = 1
    set_registers: int = 1
    mma_bf16: int = 1

    @property
    def lanes(self) -> int:
        """float32 lanes of the widest vector register that the features give; a GPU's tiles have 2 * 2 rows."""
        if self.kind == "gpu":
            return 2
        if "avx512f" in self.features:
            return 16
        return 8 if {"avx2", "fma"} <= set(self.features) else 4

    @property
    def llvm_features(self) -> str:
        """As LLVM's command lines want them."""
        return ",".join(f"+{feature}" for feature in self.features)

    def attribute(self) -> str:
        """The text of `#mk.target`."""
        on_chip = f", shared = {self.shared}, in_flight = {self.in_flight}" if self.kind == "gpu" else ""
        for name, usual in _USUAL.items():
            if getattr(self, name) != usual:
                on_chip += f", {name} = {getattr(self, name)}"
        return (
            f'#mk.target<kind = "{self.kind}", features = "{",".join(self.features)}", workers = {self.workers}, '
            f"lanes = {self.lanes}, bandwidth = {self.bandwidth}{on_chip}>"
        )


def find_target(name: str = "auto", workers: int | None = None) -> Target:
    """The target called `name`, one of TARGETS, with this machine's number of workers unless one is given."""
    if name in GPUS:
        record = GPUS[name] | ({} if workers is None else {"workers": workers})
        return Target(arch=name, cpu=name, features=(name,), kind="gpu", **record)
    workers = workers or len(physical_cores())
    bandwidth = _GB_PER_CORE * workers
    arch = platform.machine()
    if name in PORTABLE:
        if arch != "x86_64":
            raise CompileError(f"target {name} needs an x86-64 machine to compile on, this one is {arch}")
        return Target(arch, name, PORTABLE[name], workers, bandwidth)
    from mk.ir import native

    features = tuple(feature for feature in native.host_features().split(",") if _USEFUL.match(feature))
    if arch == "x86_64" and not {"avx2", "fma"} <= set(features):
        raise CompileError(
            f"this processor ({native.host_cpu()}) has no AVX2 with FMA, which mk's code for x86-64 needs"
        )
    return Target(arch, native.host_cpu(), features, workers, bandwidth)


def with_attribute(target: Target, attribute: Attribute) -> Target:
    """`target` with what a module's `mk.target` says instead."""
    fields = attribute.fields
    return replace(
        target,
        kind=str(fields["kind"]),
        features=tuple(filter(None, str(fields["features"]).split(","))),
        workers=int(fields["workers"]),
        bandwidth=int(fields["bandwidth"]),
        shared=int(fields.get("shared", 0)),
        in_flight=int(fields.get("in_flight", 0)),
        registers=int(fields.get("registers", _USUAL["registers"])),
        bulk_copy=int(fields.get("bulk_copy", _USUAL["bulk_copy"])),
        set_registers=int(fields.get("set_registers", _USUAL["set_registers"])),
        mma_bf16=int(fields.get("mma_bf16", _USUAL["mma_bf16"])),
    )


def physical_cores() -> list[int]:
    """One logical processor of each physical core that this process may run on."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    first: dict[str, int] = {}
    for processor in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        first.setdefault(siblings.read_text().strip() if siblings.exists() else str(processor), processor)
    return list(first.values())
