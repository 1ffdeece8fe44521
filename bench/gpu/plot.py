# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The plot of a run on a GPU: share of the read ceiling, mk beside PyTorch, one bar a case. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.gpu.results import RIVAL, SUBJECT, Run
from bench.gpu.shapes import CASES
from bench.gpu.table import TARGETS_ARE_FOR
from bench.peer import ROOT

PATH = ROOT / "docs" / "generated" / "gpu-decode.svg"
_BARS = ((SUBJECT, "mk", "#1f6fb4"), (RIVAL, "PyTorch, compiled, CUDA graph", "#b8bcc2"))
_TARGET = "#d1495b"


def draw(run: Run, path: Path = PATH) -> Path:
    """Writes the SVG, the same for the same run. Raises SystemExit without matplotlib, or with nothing to draw."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("the plot needs matplotlib: pip install matplotlib") from None
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    names = [name for name in CASES if name in run.cases and run.cases[name].rounds]
    if not names:
        raise SystemExit("no case of this run has figures to draw")
    with plt.rc_context({"svg.hashsalt": "mk", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(8, 0.75 * len(names) + 1.3), layout="constrained")
        for row, name in enumerate(names):
            for index, (side, _, colour) in enumerate(_BARS):
                _bar(axes, run, name, side, row + (index - 0.5) * 0.36, colour)
            _needed(axes, run, name, row)
        axes.axvline(100, color="black", linewidth=0.8)
        axes.set_yticks(range(len(names)), [CASES[name].label for name in names])
        axes.invert_yaxis()
        axes.set_xlim(0, 118)
        axes.set_xlabel("% of the read ceiling; in the bars: ms per step")
        axes.spines[["top", "right"]].set_visible(False)
        handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for _, _, colour in _BARS]
        handles.append(plt.Line2D([0], [0], color=_TARGET, linewidth=1.5))
        labels = [*(label for _, label, _ in _BARS), "needed"]
        figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)
        axes.set_title(f"{', '.join(run.gpus)}, {run.date}", loc="right", fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return path


def _bar(axes: Any, run: Run, name: str, side: str, at: float, colour: str) -> None:
    found = run.cases[name]
    share, step = found.share(side), found.milliseconds(side)
    if share is None or step is None:
        axes.text(
            1, at, found.errors.get(side, "not measured")[:60], va="center", fontsize=8, color="#777777"
        )
        return
    axes.barh(at, 100 * share.median, height=0.34, color=colour)
    axes.text(1, at, f"{step.median:.3f}", va="center", fontsize=8,
              color="white" if side == SUBJECT else "black")  # fmt: skip


def _needed(axes: Any, run: Run, name: str, row: float) -> None:
    """A mark where the target is."""
    needed, floor = CASES[name].needed, run.cases[name].floor()
    known = TARGETS_ARE_FOR in str(run.cases[name].gpu.get("name"))
    if known and needed is not None and floor is not None:
        at = 100 * floor.median / needed
        axes.plot([at, at], [row - 0.36, row], color=_TARGET, linewidth=1.5)
