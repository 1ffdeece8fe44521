# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a compile costs by the layers of a model, from its configuration: `python -m bench.compile_cost`.

Each number of layers is compiled in fresh processes without a cache, with Python's byte code written, as an
installation has it. The table has CPU seconds of each phase, which other processes disturb less than the clock, and of
a layer between one row and the one above: the same in all rows if the cost is linear. `--plot FILE.svg` draws them;
`--until table` ends where there is a proved table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.gpu.shapes import SHAPES
from bench.machine import machine
from bench.peer import ROOT

LAYERS = (1, 16, 32, 48, 64, 80)
LIMIT = 10.0  # seconds from a configuration to a proved table
PHASES = {
    "start": "start of Python", "import": "import, from a configuration to mk", "fuse": "fusion",
    "plan": "plan, to a proved table", "kernel": "kernel, to LLVM", "assemble": "PTX, and ptxas",
}  # fmt: skip
TABLE = ("start", "import", "fuse", "plan")  # what comes before there is a table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compile_cost", description="The cost of a compile by layers."
    )
    parser.add_argument("--shape", default="llama-3.1-70b", choices=SHAPES, help="(default: llama-3.1-70b)")
    parser.add_argument("--layers", type=int, nargs="+", default=list(LAYERS), help="(default: %(default)s)")
    parser.add_argument("--target", default="sm_90a", help="(default: sm_90a)")
    parser.add_argument(
        "--repeat", type=int, default=3, help="processes of each, the fastest counts (default: 3)"
    )
    parser.add_argument("--until", default="program", choices=("table", "program"), help="(default: program)")
    parser.add_argument("--to", type=Path, help="a JSON file with all figures")
    parser.add_argument("--plot", type=Path, help="an SVG file; needs matplotlib")
    options = parser.parse_args()
    runs: dict[int, dict[str, Any]] = {}
    measure(options.shape, 1, options.target, 1, options.until)  # writes the byte code
    for layers in sorted(set(options.layers)):
        runs[layers] = measure(options.shape, layers, options.target, options.repeat, options.until)
        print(f"{layers} layers: {runs[layers]['wall']:.1f} s", file=sys.stderr, flush=True)
    print(table(runs))
    if options.to:
        found = {"machine": machine(), "shape": options.shape, "target": options.target, "layers": runs}
        options.to.write_text(json.dumps(found, indent=1) + "\n")
    if options.plot:
        draw(runs, options.shape, options.plot)


def measure(shape: str, layers: int, target: str, repeat: int, until: str = "program") -> dict[str, Any]:
    """CPU seconds by phase, `wall` seconds in all and `table` seconds to the table, of the process with the fewest."""
    with tempfile.TemporaryDirectory(prefix="mk-bench-") as folder:
        config = dataclasses.replace(SHAPES[shape], layers=layers).config()
        (Path(folder) / "config.json").write_text(json.dumps(config))
        return min((_process(folder, target, until) for _ in range(repeat)), key=_to_table)


def _to_table(run: dict[str, Any]) -> float:
    """CPU seconds to the table."""
    return sum(run["cpu"][phase] for phase in TABLE)


def _process(folder: str, target: str, until: str) -> dict[str, Any]:
    began = repr(time.monotonic())
    command = [sys.executable, "-m", "bench.compile_cost", "--one", folder, target, until, began]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment.setdefault("PYTHONPYCACHEPREFIX", str(Path(tempfile.gettempdir(), "mk-bench-bytecode")))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _one(folder: str, target: str, until: str, began: str) -> None:
    """What the fresh process does; the clock is one that all processes share."""
    cpu: dict[str, float] = {}
    last = 0.0

    def reached(phase: str) -> None:
        nonlocal last
        now = time.process_time()
        cpu[phase], last = now - last, now

    from mk.compiler.driver import Lowering
    from mk.compiler.options import Options
    from mk.importer import import_model

    reached("start")
    imported = import_model(Path(folder))
    reached("import")
    lowering = Lowering(imported.text, Options(target=target, max_sequences=16, max_length=1024))
    lowering.to("fused")
    reached("fuse")
    lowering.to("plan")
    reached("plan")
    at_table = time.monotonic() - float(began)
    if until == "program":
        lowering.to("llvm")
        reached("kernel")
        lowering.emit()
        reached("assemble")  # but for ptxas, which is a process of its own
    print(json.dumps({"cpu": cpu, "table": at_table, "wall": time.monotonic() - float(began)}))


def slope(runs: dict[int, dict[str, Any]], layers: int, phases: tuple[str, ...]) -> float | None:
    """CPU milliseconds of one more layer, between the run before and this; None for the first run."""
    before = max((other for other in runs if other < layers), default=None)
    if before is None:
        return None
    more = sum(runs[layers]["cpu"][phase] - runs[before]["cpu"][phase] for phase in phases)
    return 1e3 * more / (layers - before)


def table(runs: dict[int, dict[str, Any]]) -> str:
    """In Markdown."""
    phases = _phases(runs)
    ends = ("CPU s to the table", "ms a layer", "s to the table", f"<= {LIMIT:g} s", "s in all")
    lines = [
        f"| layers | {' | '.join((*phases, *ends))} |",
        "| --- " * (len(phases) + 1 + len(ends)) + "|",
    ]
    for layers, run in runs.items():
        cells = [str(layers), *(f"{run['cpu'][phase]:.2f}" for phase in phases), f"{_to_table(run):.2f}"]
        each = slope(runs, layers, TABLE)
        cells += ["" if each is None else f"{each:.0f}", f"{run['table']:.2f}"]
        cells += ["met" if run["table"] <= LIMIT else "missed", f"{run['wall']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _phases(runs: dict[int, dict[str, Any]]) -> list[str]:
    """Those that were run."""
    return [phase for phase in PHASES if all(phase in run["cpu"] for run in runs.values())]


def draw(runs: dict[int, dict[str, Any]], shape: str, path: Path) -> None:
    """CPU seconds over layers, one phase on the other."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("the plot needs matplotlib: pip install matplotlib") from None
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.hashsalt": "mk", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        parts = [[run["cpu"][phase] for run in runs.values()] for phase in _phases(runs)]
        axes.stackplot(list(runs), parts, labels=[PHASES[name] for name in _phases(runs)])
        axes.set_xlim(0, max(runs))
        axes.set_xlabel(f"layers of {shape}")
        axes.set_ylabel("CPU seconds")
        axes.legend(loc="upper left", frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        main()
