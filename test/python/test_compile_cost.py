# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The benchmark of what a compile costs: its table, its plot, and one run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench import compile_cost  # noqa: E402


def test_the_cost_of_a_layer_is_that_between_two_rows() -> None:
    phases = dict.fromkeys(compile_cost.PHASES, 0.5)
    runs = {
        16: {"cpu": phases | {"plan": 1.0, "import": 3.0}, "table": 5.0, "wall": 9.0},
        32: {"cpu": phases | {"plan": 1.8, "import": 3.8}, "table": 12.0, "wall": 20.0},
    }
    assert compile_cost.slope(runs, 16, compile_cost.TABLE) is None
    assert compile_cost.slope(runs, 32, ("plan",)) == pytest.approx(50)
    first, second = compile_cost.table(runs).splitlines()[2:]
    assert first.startswith("| 16 | 0.50 | 3.00 | 0.50 | 1.00 | 0.50 | 0.50 | 5.00 |") and "| met |" in first
    assert "| 6.60 | 100 | 12.00 | missed | 20.00 |" in second


def test_a_compile_is_timed_in_its_own_process() -> None:
    found = compile_cost.measure("qwen3-0.6b", 2, "sm_90a", 1)
    assert set(found["cpu"]) == set(compile_cost.PHASES) and all(v >= 0 for v in found["cpu"].values())
    assert 0 < found["table"] < found["wall"]


def test_what_was_not_run_has_no_column() -> None:
    runs = {4: {"cpu": dict.fromkeys(compile_cost.TABLE, 0.5), "table": 5.0, "wall": 5.0}}
    head, _, row = compile_cost.table(runs).splitlines()
    assert "PTX" not in head and "kernel" not in head and "import" in head
    assert row.startswith("| 4 | 0.50 | 0.50 | 0.50 | 0.50 | 2.00 |")


def test_the_plot_is_the_same_each_time(tmp_path: Path) -> None:
    runs = {n: {"cpu": dict.fromkeys(compile_cost.TABLE, 0.5 * n), "table": 5.0, "wall": 5.0} for n in (1, 8)}
    files = [tmp_path / "1.svg", tmp_path / "2.svg"]
    for file in files:
        compile_cost.draw(runs, "a-shape", file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (
        b"layers of a-shape" in files[0].read_bytes() and b"plan, to a proved table" in files[0].read_bytes()
    )
