# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""All checks on a GPU, on a machine that has one: `python3 test/gpu/run.py`, after `./dev gpu-test --prepare`.

Needs numpy, safetensors, cuda-bindings, PyTorch, transformers and compute-sanitizer, but no compiler of mk. Every
script is a process with a time limit, so that neither a fault nor a hang ends the others. Exits with 1 if any failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

from gpu import suite

# Seconds that each may take; what it needs is a tenth to a half of that.
SCRIPTS = {
    "runtime": 60,
    "kinds": 90,
    "functions": 90,
    "smollm2": 90,
    "model": 90,
    "bits": 90,
    "stall": 60,
    "refusals": 90,
    "neighbour": 120,
    "sanitizer": 290,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 test/gpu/run.py", description="The checks on a GPU.")
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(SCRIPTS)} (default: all)")
    parser.add_argument("--folder", type=Path, default=suite.FOLDER, help="(default: .dev/gpu-test)")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--limit", type=float, default=540, help="seconds for all of them (default: 540)")
    options = parser.parse_args()
    for name in options.names:
        if name not in SCRIPTS:
            parser.error(f"no check '{name}'; there is: {', '.join(SCRIPTS)}")
    if not (options.folder / suite.SECOND).is_dir():
        parser.error(
            f"{options.folder} has no folder {suite.SECOND}; run ./dev gpu-test --prepare where mk is built"
        )
    gpu = gpu_name()
    began, results = time.monotonic(), []
    for name in options.names or SCRIPTS:
        script = Path(__file__).with_name(f"check_{name}.py")
        left = options.limit - (time.monotonic() - began)
        results += run(name, script, options.folder, max(min(SCRIPTS[name], left), 0))
        summary = {
            "gpu": gpu,
            "date": datetime.date.today().isoformat(),
            "seconds": round(time.monotonic() - began, 1),
            "failed": [result["check"] for result in results if not result["ok"]],
            "checks": results,
        }
        if options.json is not None:  # after each: what ends this too leaves what it has found
            options.json.write_text(json.dumps(summary, indent=1) + "\n")
    failed = len(summary["failed"])
    print(f"{gpu}: {len(results) - failed} passed, {failed} failed, {summary['seconds']:.0f} s")
    sys.exit(failed > 0)


def run(name: str, script: Path, folder: Path, limit: float) -> list[dict[str, Any]]:
    """The results of a script. One that ends early, or not at all, adds its own failure."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "results.jsonl"
        command = [sys.executable, str(script), "--folder", str(folder), "--json", str(path)]
        began, ended = time.monotonic(), ""
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            try:
                said = process.communicate(timeout=limit)[1]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started
                said, ended = process.communicate()[1], f"no end after {limit:g} s"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if not ended and process.returncode not in (0, 1):
        ended = f"ended with {process.returncode}"
    if not ended and (not found or (process.returncode == 1) != any(not result["ok"] for result in found)):
        ended = f"ended with {process.returncode} after {len(found)} results"
    if ended:
        last = [line for line in said.splitlines() if line.strip()][-1:]
        error = f"{ended}: {last[0].strip()[:600]}" if last else ended
        seconds = round(time.monotonic() - began, 2)
        found.append({"check": name, "ok": False, "error": error, "seconds": seconds})
        print(f"{name:34} FAILED {error} ({seconds:.1f} s)", flush=True)
    return found


def gpu_name() -> str:
    """As the driver names the first. Exits with a line if there is none."""
    from mk.errors import MkError
    from mk.runtime.gpu.context import Gpu
    from mk.runtime.gpu.driver import open_driver

    try:
        return Gpu(open_driver()).name
    except MkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
