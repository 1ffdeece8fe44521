# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""NVIDIA's compute-sanitizer finds nothing in a model of two layers: memcheck, initcheck and synccheck."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

from gpu import suite
from gpu.suite import Failed, Figures, Report, require

TOOLS = ("memcheck", "initcheck", "synccheck")
SECONDS = 70  # for each run


def checks(report: Report, folder: Path) -> None:
    """One run of sanitized.py for each tool, and first one with an error to be found."""
    model = sorted((folder / suite.THIRD / "kinds").iterdir())[0]
    report.attempt("compute-sanitizer: notices", check_notices, model)
    for tool in TOOLS:
        report.attempt(f"compute-sanitizer: {tool}", check_tool, tool, model)


def check_notices(model: Path) -> Figures:
    """A call that the driver refuses is an error for memcheck; sanitized.py and the runtime make no other."""
    said, status = run("memcheck", model, "--refused")
    found = errors(said, status)
    require(found == 1 and "cuModuleLoadData" in said, f"{found} errors instead of one: {_lines(said)}")
    return {"errors": found}


def check_tool(tool: str, model: Path) -> Figures:
    """Steps and a generation without any."""
    return judge(*run(tool, model))


def run(tool: str, model: Path, *arguments: str) -> tuple[str, int]:
    """What the tool and sanitized.py say, and the exit status."""
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    require(Path(sanitizer).exists(), "compute-sanitizer is not installed")
    script = Path(__file__).with_name("sanitized.py")
    command = [
        sanitizer,
        "--tool",
        tool,
        "--print-limit",
        "5",
        sys.executable,
        str(script),
        str(model),
        *arguments,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            said = process.communicate(timeout=SECONDS)[0]
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)  # and the program that it runs
            raise Failed(f"no end after {SECONDS} s") from error
    return said, process.returncode


def judge(said: str, status: int) -> Figures:
    """Raises Failed unless the tool counted, found nothing, and the program made its steps."""
    found = errors(said, status)
    require(not found, f"{found} errors: {_lines(said)}")
    require(status == 0 and " tokens in " in said, f"the program ended with {status}: {_last(said)}")
    return {"errors": found}


def errors(said: str, status: int) -> int:
    """As the tool counts them. Raises Failed if it did not."""
    counts = [int(count) for count in re.findall(r"ERROR SUMMARY: (\d+) error", said)]
    require(bool(counts), f"no error summary, status {status}: {_last(said)}")
    return sum(counts)


def _lines(said: str) -> str:
    lines = [line.strip("= ") for line in said.splitlines() if line.startswith("=========")]
    return " | ".join([line for line in lines if line][1:8])


def _last(said: str) -> str:
    return " | ".join(said.splitlines()[-5:])


if __name__ == "__main__":
    suite.main(checks)
