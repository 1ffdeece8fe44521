# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a measurement says about the machine that it was made on. Never its name."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

_FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GB, system and Python."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.M)
    flags = re.search(r"^flags\s*:\s*(.+)$", info, re.M)
    have = set(flags[1].split()) if flags else set()
    return {
        "cpu": " ".join(model[1].split()) if model else platform.machine(),
        "features": [name for name in _FEATURES if name in have],
        "virtual": "hypervisor" in have,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, Linux {platform.release()}",
        "python": platform.python_version(),
    }


def describe(facts: dict[str, Any]) -> str:
    """One line for people."""
    kind = "virtual machine, " if facts["virtual"] else ""
    return f"{facts['cpu']}, {kind}{facts['cores']} cores, {facts['memory_gb']:.0f} GB ({', '.join(facts['features'])})"


def slug(facts: dict[str, Any]) -> str:
    """For the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", f"{facts['cpu']} {facts['cores']} cores".lower()).strip("-")
