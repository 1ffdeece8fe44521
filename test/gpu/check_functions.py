# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules of a user's own on a GPU against PyTorch in float32: as near as PyTorch in bfloat16, times 1.5; the same bits
in any batch; inputs that are no numbers; calls whose data decides what runs; arrays that lie on the GPU."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk
import numpy as np

from gpu import suite
from gpu.cases import Array, made_up
from gpu.suite import Figures, Report, require

MOST = 1.5  # times the mean error of PyTorch in bfloat16
LARGEST = (
    2.0  # times its largest: that is one number of thousands, behind a softmax that is sharp for one row
)
CALLS = 20
TURNS = 50  # of each call, where calls take sides


class Answers:
    """reference.npz of a case."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self._arrays = dict(file)
        about = json.loads(str(self._arrays.pop("about")))
        self.calls, self._inputs = range(about["calls"]), about["inputs"]
        self.together = about["together"]
        self._shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}

    def weights(self) -> dict[str, Array]:
        """By name."""
        return made_up(self._shapes, seed=0)

    def inputs(self, call: int) -> list[Array]:
        """Of a call."""
        return [self._arrays[f"{call}/input/{i}"] for i in range(self._inputs)]

    def check(self, call: int, found: list[Array]) -> float:
        """The largest share of what is allowed that an error has. Raises Failed if it is more than all."""
        shares = []
        for i, value in enumerate(found):
            exact, (mean, most) = self._arrays[f"{call}/exact/{i}"], self._arrays[f"{call}/error/{i}"]
            error, scale = np.abs(value - exact), np.abs(exact).max()
            shares += [
                error.mean() / (MOST * mean + 1e-6 * scale),
                error.max() / (LARGEST * most + 1e-5 * scale),
            ]
            require(
                value.shape == exact.shape and bool(np.nan_to_num(max(shares), nan=np.inf) <= 1),
                f"call {call}, result {i}: mean error {error.mean():.3g}, largest {error.max():.3g}; PyTorch in "
                f"bfloat16 has {mean:.3g} and {most:.3g}",
            )
        return float(max(shares))


def checks(report: Report, folder: Path) -> None:
    """For each of the modules that were compiled."""
    for place in sorted((folder / suite.THIRD / "functions").iterdir()):
        answers = Answers(place / "reference.npz")
        with report.engine(place.name, partial(opened, place, answers)) as f:
            if f is None:
                continue
            report.attempt(f"{place.name}: results", check_results, f, answers)
            report.attempt(f"{place.name}: bits", check_bits, f, answers)
            if answers.together:
                report.attempt(f"{place.name}: sides", check_sides, f, answers)
            else:
                report.attempt(f"{place.name}: no numbers", check_no_numbers, f, answers)
            report.attempt(f"{place.name}: on the GPU", check_on_gpu, f, answers)


def opened(place: Path, answers: Answers) -> mk.Function:
    """The function, whose weights are packed by a first call."""
    f = mk.Function(place / "model.mkp", answers.weights())
    f(*answers.inputs(0))
    return f


def check_results(f: mk.Function, answers: Answers) -> Figures:
    """Every call of the reference; the time is of the largest."""
    shares = [answers.check(call, flat(f(*answers.inputs(call)))) for call in answers.calls]
    largest = max((answers.inputs(call) for call in answers.calls), key=lambda given: given[0].size)
    began = time.perf_counter()
    for _ in range(CALLS):
        f(*largest)
    return {
        "calls": len(shares),
        "share of the error": max(shares),
        "ms": 1000 * (time.perf_counter() - began) / CALLS,
        "of the shape": "x".join(map(str, largest[0].shape)),
    }


def check_bits(f: mk.Function, answers: Answers) -> Figures:
    """A call again, and entries alone, have the same bits."""
    entries = 0
    for call in answers.calls:
        given = answers.inputs(call)
        found = flat(f(*given))
        require(all(map(np.array_equal, found, flat(f(*given)))), f"call {call} again has other bits")
        for n in range(min(len(given[0]), 20)):
            alone = flat(f(*(x[n : n + 1] for x in given)))
            same = [np.array_equal(a[0], b[n]) for a, b in zip(alone, found, strict=True)]
            require(all(same), f"call {call}: entry {n} alone has other bits")
            entries += 1
    return {"entries": entries}


def check_sides(f: mk.Function, answers: Answers) -> Figures:
    """Calls of all sides in random order have the bits that they had alone, and what is no number ends too. The times
    are of the calls of one row, the quickest and the slowest side."""
    wanted = [flat(f(*answers.inputs(call))) for call in answers.calls]
    random = np.random.default_rng(0)
    for call in random.integers(0, len(wanted), TURNS * len(wanted)):
        found = flat(f(*answers.inputs(call)))
        require(all(map(np.array_equal, found, wanted[call])), f"call {call} has other bits behind others")
    wrong = [x.copy() for x in answers.inputs(0)]
    wrong[0].view(np.uint32)[:] = 0xFFFFFFFF
    f(*wrong)
    require(all(map(np.array_equal, flat(f(*answers.inputs(0))), wanted[0])), "NaNs leave something behind")
    times = []
    for call in answers.calls:
        one = [x[:1] for x in answers.inputs(call)]
        f(*one)
        began = time.perf_counter()
        for _ in range(CALLS):
            f(*one)
        times.append(1000 * (time.perf_counter() - began) / CALLS)
    return {
        "calls": TURNS * len(wanted),
        "ms of the quickest side": min(times),
        "ms of the slowest": max(times),
    }


def check_no_numbers(f: mk.Function, answers: Answers) -> Figures:
    """An entry of NaNs of all sorts, all ones among them, ends, and leaves the others alone."""
    call = max(answers.calls, key=lambda call: len(answers.inputs(call)[0]))
    given = answers.inputs(call)
    if given[0].dtype != np.float32:
        return {"entries": 0}
    found = flat(f(*given))
    for bits in (0xFFFFFFFF, 0x7FFFFFFF, 0xFFC00000, 0xFFFF0000):
        wrong = [x.copy() for x in given]
        for x in wrong:
            x.view(np.uint32)[1] = bits
        for a, b in zip(flat(f(*wrong)), found, strict=True):
            require(bool(np.isnan(a[1]).any()), f"{bits:#x} gives numbers")
            others = np.arange(len(a)) != 1
            require(np.array_equal(a[others], b[others]), f"{bits:#x} in an entry changes others")
    return {"entries": len(found[0]) - 1}


def check_on_gpu(f: mk.Function, answers: Answers) -> Figures:
    """Tensors of PyTorch on the GPU give the same bits, on the GPU; some that are no whole rows, too."""
    import torch

    for call in answers.calls:
        given = [torch.from_numpy(x).cuda() for x in answers.inputs(call)]
        found, there = flat(f(*answers.inputs(call))), flat(f(*given))
        require(all(x.is_cuda for x in there), "results are not on the GPU")
        same = [np.array_equal(a, b.cpu().numpy()) for a, b in zip(found, there, strict=True)]
        require(all(same), f"call {call} has other bits on the GPU")
    wide = [torch.stack([x, x], -1)[..., 0] for x in given]  # with gaps
    same = [np.array_equal(a, b.cpu().numpy()) for a, b in zip(found, flat(f(*wide)), strict=True)]
    require(all(same), "an array with gaps has other bits")
    largest = max((answers.inputs(call) for call in answers.calls), key=lambda given: given[0].size)
    given = [torch.from_numpy(x).cuda() for x in largest]
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(CALLS):
        f(*given)
    return {"calls": len(answers.calls), "ms": 1000 * (time.perf_counter() - began) / CALLS}


def flat(value: Any) -> list[Any]:
    """The results in their order."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, tuple) else [value]


if __name__ == "__main__":
    suite.main(checks)
