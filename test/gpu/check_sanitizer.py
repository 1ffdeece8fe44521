# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""NVIDIA's compute-sanitizer finds nothing in a model of two layers: memcheck, initcheck and synccheck."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

from gpu import suite
from gpu.suite import Failed, Figures, Report, require

TOOLS = ("memcheck", "initcheck", "synccheck")
SECONDS = 80  # for each


def checks(report: Report, folder: Path) -> None:
    """One run of sanitized.py for each tool."""
    for tool in TOOLS:
        report.attempt(f"compute-sanitizer: {tool}", check_tool, tool, folder)


def check_tool(tool: str, folder: Path) -> Figures:
    """Its last line has the number of errors; the program that it ran must have ended well too."""
    sanitizer = shutil.which("compute-sanitizer", path=None) or "/usr/local/cuda/bin/compute-sanitizer"
    require(Path(sanitizer).exists(), "compute-sanitizer is not installed")
    model = sorted((folder / suite.SECOND / "kinds").iterdir())[0]
    script = Path(__file__).with_name("sanitized.py")
    command = [sanitizer, "--tool", tool, "--print-limit", "5", sys.executable, str(script), str(model)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"no end after {SECONDS} s") from error
    return judge(run.stdout + run.stderr, run.returncode)


def judge(said: str, status: int) -> Figures:
    """Raises Failed unless the tool counted, found nothing, and the program ended with 0."""
    counts = [int(count) for count in re.findall(r"ERROR SUMMARY: (\d+) error", said)]
    lines = [line for line in said.splitlines() if line.startswith("=========") and line.strip("= ")]
    require(bool(counts), f"no error summary, status {status}: {' | '.join(said.splitlines()[-5:])}")
    require(not sum(counts), f"{sum(counts)} errors: {' | '.join(line.strip('= ') for line in lines[1:8])}")
    require(status == 0, f"the program ended with {status}: {' | '.join(said.splitlines()[-5:])}")
    return {"errors": 0}


if __name__ == "__main__":
    suite.main(checks)
