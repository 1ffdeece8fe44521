# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What cannot work on a GPU is one line, and Ctrl-C ends a running kernel; the engine is usable after it."""

from __future__ import annotations

import copy
import dataclasses
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk
import numpy as np
from mk.program import Program

from gpu import suite
from gpu.check_neighbour import ask_for_an_engine
from gpu.suite import Failed, Figures, Report, require

SOON = 0.02  # seconds from Ctrl-C to the end of the kernel, a step of which takes a tenth of a millisecond


def checks(report: Report, folder: Path) -> None:
    """Each by itself."""
    package = folder / suite.SECOND / "steps" / "model.mkp"
    program = mk.load(package)
    report.attempt("refused: no GPU", check_no_gpu, package)
    report.attempt("refused: too little memory", check_memory, program)
    report.attempt("refused: a longer context", check_pool, program)
    report.attempt("refused: for another GPU", check_arch, program)
    report.attempt("refused: another GPU's code", check_code, program, folder / suite.SECOND / "alien.cubin")
    report.attempt("Ctrl-C", check_interrupt, program)


def refusal(kind: type[Exception], call: Callable[[], Any], pattern: str) -> str:
    """The error's line. Raises Failed if there is none, or another."""
    try:
        call()
    except kind as error:
        said = str(error)
        require(
            "\n" not in said and re.search(pattern, said) is not None, f"expected '{pattern}', found: {said}"
        )
        return said
    raise Failed(f"nothing was refused; expected '{pattern}'")


def check_no_gpu(package: Path) -> Figures:
    """A process that the driver shows none."""
    status, said = ask_for_an_engine(package, CUDA_VISIBLE_DEVICES="")
    wanted = "this machine has an NVIDIA driver but shows no GPU to this process"
    require(status == 1 and said == wanted, f"expected '{wanted}', found status {status}: {said}")
    return {"said": said}


def check_memory(program: Program) -> Figures:
    """Says what is needed and what would fit; and that does fit, to its last page."""
    pattern = r"too little memory: [\d.]+ GiB needed .* free; pool_pages=\d+ would fit"
    said = refusal(mk.MkError, lambda: program.engine("random", pool_pages=1 << 28), pattern)
    fits = int(said.partition("pool_pages=")[2].split()[0])
    with program.engine("random", seed=7, pool_pages=fits) as engine:
        engine._pages._free.reverse()
        found = engine.step([1, 2], [0, 1], [0, 0])
    with program.engine("random", seed=7) as engine:
        require(np.array_equal(found, engine.step([1, 2], [0, 1], [0, 0])), "other bits in the largest pool")
    return {"said": said}


def check_pool(program: Program) -> Figures:
    """A step and a generation that the pool has no pages for; what it has stays usable."""
    page = program.manifest["sizes"]["page"]
    with program.engine("random", seed=7, pool_pages=2) as engine:
        full = list(range(1, 2 * page + 1))
        before = engine.step(full, range(2 * page), [3] * len(full), rows=[2 * page - 1])
        said = refusal(
            mk.InputError, lambda: engine.step([1], [2 * page], [3]),
            rf"^the KV pool has 0 free pages of {page} positions, but slot 3 needs 1 more",
        )  # fmt: skip
        refusal(
            mk.InputError,
            lambda: list(engine.generate(full, max_new_tokens=2, slot=3)),
            "slot 3 needs 3 more",
        )
        length = engine.max_length
        refusal(mk.InputError, lambda: engine.step([1], [length], [3]), rf"expected 0 \.\. {length - 1}")
        engine.reset(3)
        after = engine.step(full, range(2 * page), [0] * len(full), rows=[2 * page - 1])
    require(np.array_equal(before, after), "other bits after a refusal")
    return {"said": said}


def check_arch(program: Program) -> Figures:
    """The manifest says that the code is not for this GPU."""
    manifest: Any = copy.deepcopy(program.manifest)
    manifest["target"]["arch"] = "sm_100a"
    other = dataclasses.replace(program, manifest=manifest)
    return {"said": refusal(mk.PackageError, other.engine, r"^made for sm_100a, but this GPU is .*, sm_90;")}


def check_code(program: Program, alien: Path) -> Figures:
    """The manifest does not say so, but the code is for another one: the driver finds out."""
    other = dataclasses.replace(program, code=alien.read_bytes())
    return {"said": refusal(mk.PackageError, other.engine, r"cannot be loaded by this driver.*CUDA_ERROR")}


def check_interrupt(program: Program) -> Figures:
    """At several moments of a generation; each time the next one draws what it should."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    took = []
    with program.engine("random", seed=7) as engine:
        wanted = list(engine.generate([3, 5, 7], max_new_tokens=1000))
        for after in (0.002, 0.005, 0.011, 0.02, 0.03):
            raised = []

            def interrupt(raised: list[float] = raised) -> None:
                raised.append(time.perf_counter())
                signal.raise_signal(signal.SIGINT)

            timer = threading.Timer(after, interrupt)
            try:
                timer.start()
                while True:
                    list(engine.generate([3, 5, 7], max_new_tokens=1000))
            except KeyboardInterrupt:
                took.append(time.perf_counter() - raised[0])
            again = list(engine.generate([3, 5, 7], max_new_tokens=50))
            require(again == wanted[:50], "after Ctrl-C a generation has other tokens")
    require(
        max(took) < SOON,
        f"the kernel ended {1e3 * max(took):.1f} ms after Ctrl-C; a step takes a tenth of one",
    )
    return {"interrupts": len(took), "ms until the end": 1e3 * max(took)}


if __name__ == "__main__":
    suite.main(checks)
