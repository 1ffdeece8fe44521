# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Packages for bench.gpu_decode, made where there is a compiler and no GPU: `python -m bench.gpu_compile`.

Every shape of bench/gpu/shapes.py is compiled from its configuration, without weights, in fresh processes: cold with an
empty cache, then warm. Writes the packages and compile.json (seconds, what ptxas says, or why a shape does not compile)
to a folder. A package that can no longer be made is deleted there, so that nobody measures an old one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.gpu.shapes import PACKAGES, SHAPES
from bench.machine import machine
from bench.peer import ROOT

FOLDER = ROOT / ".dev" / "gpu"
SIDECAR = "compile.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_compile", description="Packages to measure.")
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(PACKAGES)} (default: all)")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder (default: .dev/gpu)")
    parser.add_argument("--target", default="sm_90a", help="(default: sm_90a)")
    parser.add_argument("--repeat", type=int, default=3, help="warm starts of each (default: 3)")
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds for each compilation (default: 600)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of compile_module"
    )
    options = parser.parse_args()
    given = dict(assignment(parser, text) for text in options.set)
    for name in options.names:
        if name not in PACKAGES:
            parser.error(f"no package '{name}'; there is: {', '.join(PACKAGES)}")
    options.to.mkdir(parents=True, exist_ok=True)
    sidecar = options.to / SIDECAR
    known: dict[str, Any] = json.loads(sidecar.read_text())["packages"] if sidecar.exists() else {}
    for name in options.names or PACKAGES:
        known[name] = compile_package(name, options.target, given, options.to, options.repeat, options.limit)
        sidecar.write_text(json.dumps({"machine": machine(), "packages": known}, indent=1) + "\n")
    print(f"written: {options.to}")


def assignment(parser: argparse.ArgumentParser, text: str) -> tuple[str, Any]:
    """`split=256` as a pair; a value that is not JSON is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        parser.error(f"--set {text}: expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def compile_package(
    name: str, target: str, given: dict[str, Any], to: Path, repeat: int, limit: float
) -> dict[str, Any]:
    """The entry of compile.json; the package is in `to` unless the entry has an `error`."""
    package = PACKAGES[name]
    options = {"target": target, **package.options, **given}
    path = to / f"{name}.mkp"
    path.unlink(missing_ok=True)
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "shape": package.shape,
        "options": options,
    }
    with tempfile.TemporaryDirectory(prefix="mk-bench-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(SHAPES[package.shape].config()))
        cold = _timed(folder, options, path, Path(scratch), limit)
        if "error" in cold:
            print(f"{name}: {cold['error']}", file=sys.stderr, flush=True)
            return found | {"error": cold["error"]}
        found |= {
            "cold": cold,
            "warm": [_timed(folder, options, None, Path(scratch), limit) for _ in range(repeat)],
        }
    if not package.measured:
        path.unlink(missing_ok=True)
    warm = ", ".join(f"{run['seconds']:.2f}" if "seconds" in run else run["error"] for run in found["warm"])
    print(f"{name}: cold {cold['seconds']:.2f} s, warm {warm} s", file=sys.stderr, flush=True)
    return found


def _timed(
    folder: Path, options: dict[str, Any], to: Path | None, scratch: Path, limit: float
) -> dict[str, Any]:
    """`seconds`: from the start of a fresh process to the program, the import of mk included."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"XDG_CACHE_HOME": str(scratch / "cache")}  # the program's cache: empty at the first call
    environment.pop("MK_CACHE", None)
    command = [
        sys.executable,
        "-m",
        "bench.gpu_compile",
        "--one",
        str(folder),
        json.dumps(options),
        str(to or ""),
    ]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {limit:g} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return {"error": lines[-1][:600]}
    found = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": found.pop("at") - began, **found}


def _one(folder: str, options: str, to: str) -> None:
    """What the fresh process does; the clock is one that all processes share."""
    import mk

    program = mk.compile_module(folder, **json.loads(options))
    at = time.monotonic()
    manifest = program.manifest
    if to:
        program.save(to)
    found = {
        "at": at,
        "phases": program.seconds,
        "gpu": manifest["gpu"],
        "stream": manifest["arenas"]["stream"],
        "instructions": list(program.arrays["table"].shape[:2]),
    }
    print(json.dumps(found))


def _commit() -> str:
    """Of the working tree, with a + if it has changes; empty without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        main()
