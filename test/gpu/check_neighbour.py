# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A second process on the GPU: PyTorch's makes an engine slower and no more, a second engine is refused."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk

from gpu import suite
from gpu.suite import Figures, Report, require

SCRIPT = Path(__file__).with_name("neighbour.py")
SECONDS, NEW = 4, 200  # of the other's work; tokens of a generation
START, END = 60, 30  # seconds that another process may take


def checks(report: Report, folder: Path) -> None:
    """With one engine of this process."""
    package = folder / suite.SECOND / "steps" / "model.mkp"
    report.attempt("second process: PyTorch", check_torch, package)
    report.attempt("second process: an engine", check_engine, package)


def check_torch(package: Path) -> Figures:
    """Tokens as without it, and no stall, while another process multiplies matrices."""
    with mk.load(package).engine("random", seed=7) as engine:
        wanted, _ = _generation(engine)
        alone = statistics.median(_generation(engine)[1] for _ in range(10))
        command = [sys.executable, str(SCRIPT), "matmul", str(SECONDS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            try:
                assert other.stdout is not None
                require(other.stdout.readline().strip() == "ready", "PyTorch's process did not start")
                times = []
                while other.poll() is None:
                    tokens, seconds = _generation(engine)
                    require(
                        tokens == wanted, f"generation {len(times)} beside another process has other tokens"
                    )
                    times.append(seconds)
                    require(sum(times) < SECONDS + END, "the other process does not end")
                products = other.stdout.read().strip()
            finally:
                other.kill()
        require(len(times) > 1 and other.returncode == 0, f"the other process ended with {other.returncode}")
        after, _ = _generation(engine)
        require(after == wanted, "after the other process the tokens are others")
    shared = statistics.median(times)
    return {
        "generations": len(times),
        "ms a token alone": 1e3 * alone / NEW,
        "shared": 1e3 * shared / NEW,
        "slower": shared / alone,
        "longest": 1e3 * max(times) / NEW,
        "its products": int(products),
    }


def _generation(engine: Any) -> tuple[list[int], float]:
    began = time.perf_counter()
    tokens = list(engine.generate([3, 5, 7], max_new_tokens=NEW))
    return tokens, time.perf_counter() - began


def check_engine(package: Path) -> Figures:
    """Refused in one line that names the process, as long as this one has an engine."""
    with mk.load(package).engine("random", seed=7):
        status, said = ask_for_an_engine(package)
    require(
        status == 1 and f"process {os.getpid()} has an engine on it" in said and "\n" not in said,
        f"expected a refusal in one line that names process {os.getpid()}, found status {status}: {said}",
    )
    status, after = ask_for_an_engine(package)
    require(status == 0 and after == "ready", f"not after the first engine's end either: {after}")
    return {"said": said}


def ask_for_an_engine(package: Path, **environment: str) -> tuple[int, str]:
    """The exit status and what another process says that wants an engine."""
    command = [sys.executable, str(SCRIPT), "engine", str(package)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=START, env={**os.environ, **environment}
    )
    return run.returncode, (run.stdout + run.stderr).strip()


if __name__ == "__main__":
    suite.main(checks)
