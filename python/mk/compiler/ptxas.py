# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""NVIDIA's assembler: from PTX to a cubin."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TypedDict

from mk.errors import CompileError


class Report(TypedDict):
    """What ptxas says of a kernel: registers of a thread, and bytes that it keeps in memory for want of more; and the
    threads of a CTA, which the PTX states."""

    name: str
    threads: int
    registers: int
    spills: int


def find_ptxas() -> Path:
    """The ptxas of the `nvidia-cuda-nvcc` package, of $CUDA_HOME, or on the path. Raises CompileError without one."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        for found in sorted(Path(folder).glob("*/bin/ptxas"), reverse=True):
            return found
    home = os.environ.get("CUDA_HOME")
    if home and (Path(home) / "bin" / "ptxas").exists():
        return Path(home) / "bin" / "ptxas"
    if path := shutil.which("ptxas"):
        return Path(path)
    raise CompileError("no ptxas to assemble code for a gpu: pip install nvidia-cuda-nvcc")


def assemble(ptx: str, architecture: str) -> tuple[bytes, list[Report]]:
    """The cubin of a program's PTX for an architecture such as "sm_90a", and the reports on its kernels."""
    with tempfile.TemporaryDirectory(prefix="mk-ptxas-") as folder:
        source, target = Path(folder) / "program.ptx", Path(folder) / "program.cubin"
        source.write_text(ptx)
        command = [str(find_ptxas()), f"-arch={architecture}", "-O3", "-v", "-o", str(target), str(source)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            said = " ".join((run.stderr or run.stdout).replace(f"ptxas {source}", "").split())
            raise CompileError(f"ptxas refuses the generated code: {said[:600].removeprefix(', ')}")
        return target.read_bytes(), _reports(ptx, run.stderr)


def _reports(ptx: str, text: str) -> list[Report]:
    found = []
    for part in text.split("Compiling entry function '")[1:]:
        name = part.partition("'")[0]
        threads = re.search(rf"\.entry {name}\b[^{{]*?\.maxntid (\d+)", ptx)
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers = re.search(r"Used (\d+) registers", part)
        if threads and spills and registers:
            found.append(
                Report(
                    name=name,
                    threads=int(threads[1]),
                    registers=int(registers[1]),
                    spills=int(spills[1]) + int(spills[2]),
                )
            )
    if not found:
        raise CompileError(f"ptxas did not report on the kernels: {text.strip()[:600]}")
    return found
