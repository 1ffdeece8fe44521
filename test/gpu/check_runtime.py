# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The runtime on a real GPU, without the compiler and what it makes: `python3 test/gpu/check_runtime.py`, on Hopper.

The program is runtime.ptx, which the driver assembles. Needs numpy, safetensors and cuda-bindings; some seconds. Under
compute-sanitizer one call of the driver is reported: cuModuleLoadData, of check_refusals.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "python"), str(HERE.parent.parent / "python")]

import fake_gpu
import fake_program as fake
import mk
import numpy as np
from mk.program import Program

from gpu import suite
from gpu.suite import Figures, Report, require

COLUMNS, ROWS = 4096, 32768  # of the matrix that is packed


def program(*, rows: int = 8, workers: int = 100) -> Program:
    """The manifest of fake_gpu.py with a larger matrix, and code for a GPU."""
    made = fake_gpu.program()
    manifest: Any = made.manifest
    (w,) = (weight for weight in manifest["weights"] if weight["name"] == "w")
    units = -(-rows // 8) * 2
    w |= {"sources": ["w"], "views": [None], "shape": [rows, COLUMNS], "gathered": False}
    w["segments"] = [{"base": 0, "limit": rows, "outer": units // 2, "stride": 8, "half": 4, "partner": 4}]
    made.arrays["tile_offsets/w"] = np.arange(units)[::-1] * (4 * COLUMNS * 2 // 64)
    manifest["arenas"]["stream"] = units * 4 * COLUMNS * 2
    manifest["target"]["workers"] = workers
    manifest["gpu"]["shared"] = 200 << 10
    made.arrays["table"] = np.zeros((workers, 2, 32), np.int32)
    made.arrays["table"][:, 1, 0] = -1
    made.arrays["counts"] = np.ones(workers, np.int64)
    abi = manifest["abi"]
    places = {array["name"].upper(): array["offset"] for array in abi["request"]}
    places |= {field["name"].upper(): 8 * field["index"] for field in abi["context"]}
    places |= {"CONTEXT": 8 * abi["context_words"], "LOGITS": fake.LOGITS}
    text = (HERE / "runtime.ptx").read_text()
    for name in sorted(places, key=len, reverse=True):
        text = text.replace(f"${name}", str(places[name]))
    made.code = text.encode() + b"\0"
    made.weights = {**fake_gpu.weights(), "w": np.zeros((rows, COLUMNS), np.float16)}
    return made


def download(engine: Any, name: str, count: int) -> Any:
    """uint16 [count] of an arena."""
    device = engine._device
    bits = np.empty(count, np.uint16)
    with device._gpu as gpu:
        gpu.cuda("cuMemcpyDtoH", bits.ctypes.data, device.memory[name].address, bits.nbytes)
    return bits


def successors(token: int, count: int) -> list[int]:
    """What the program draws after `token`."""
    return [(token + 1 + i) % 10 for i in range(count)]


def check_runs() -> Figures:
    """Tokens come while the kernel runs."""
    with program().engine() as engine:
        assert engine.step([3], [0], [0])[0, 0] == 4
        began, times = time.perf_counter(), []
        found = []
        for token in engine.generate([3], max_new_tokens=20):
            found.append(token)
            times.append(time.perf_counter() - began)
        assert found == successors(3, 20), found
        require(
            times[0] < times[-1] / 3, f"of 20 tokens the first came after {times[0]} s, the last {times[-1]}"
        )
        began = time.perf_counter()
        for _ in range(20):
            engine.step([3], [0], [1])
        step = (time.perf_counter() - began) / 20
    return {
        "ms until the first of 20 tokens": 1e3 * times[0],
        "last": 1e3 * times[-1],
        "a step of 0.5": 1e3 * step,
    }


def check_cancel() -> None:
    """By closing the iterator, and by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    with program().engine() as engine:
        tokens = engine.generate([3], max_new_tokens=30)
        assert [next(tokens), next(tokens)] == [4, 5]
        tokens.close()
        assert engine.length(0) < 10, engine.length(0)
        for _ in range(20):  # a cancel that comes late must not end the next run
            tokens = engine.generate([3], max_new_tokens=2)
            next(tokens)
            tokens.close()
            assert len(list(engine.generate([1], max_new_tokens=8))) == 8
        threading.Timer(0.004, signal.raise_signal, [signal.SIGINT]).start()
        try:
            for _ in range(10):
                list(engine.generate([3], max_new_tokens=30))
            raise AssertionError("Ctrl-C went by")
        except KeyboardInterrupt:
            pass
        assert list(engine.generate([3], max_new_tokens=5)) == successors(3, 5)


def check_turns() -> Figures:
    """Two engines of one process."""
    with program().engine() as one, program().engine() as two:
        tokens = one.generate([3], max_new_tokens=30)
        next(tokens)
        began = time.perf_counter()
        assert two.step([5], [0], [0])[0, 0] == 6
        waited = time.perf_counter() - began
        assert one._device._has_ended()
        assert list(tokens) == successors(4, 29)
    return {"ms behind another engine's 15": 1e3 * waited}


def check_stall() -> Figures:
    """What the kernel wrote becomes the error."""
    with program().engine() as engine:
        try:
            list(engine.generate([3], max_new_tokens=5, temperature=1.0, seed=99))
            raise AssertionError("no stall")
        except mk.DeviceStalled as error:
            said = str(error)
            assert "worker 0 in model (model): waiting for event 1 (finished), which has seen 5" in said, said
    return {"said": said}


def check_packing() -> Figures:
    """Every bit of a large matrix, from the host, from PyTorch where it is imported, and made up."""
    figures: Figures = {}
    random = np.random.default_rng(0)
    bits = random.integers(0, 0x7F00, (ROWS, COLUMNS), np.uint16)
    large = program(rows=ROWS)
    try:
        import ml_dtypes

        values: Any = bits.view(ml_dtypes.bfloat16)
    except ImportError:
        values = None
    order = np.arange(ROWS).reshape(-1, 2, 2, 2).transpose(0, 2, 1, 3).reshape(-1, 4)[::-1].reshape(-1)
    if values is not None:
        for _ in range(2):  # the first touches the pages of the pinned slots
            began = time.perf_counter()
            engine = large.engine({**fake_gpu.weights(), "w": values})
            seconds = time.perf_counter() - began
            figures[f"s with {bits.nbytes / 1e9:.2f} GB of weights"] = seconds
            np.testing.assert_array_equal(
                download(engine, "stream", bits.size).reshape(ROWS, COLUMNS), bits[order]
            )
            engine.close()
    torch = sys.modules.get("torch")
    if torch is not None:
        given = torch.from_numpy(bits.view(np.int16)).cuda().view(torch.bfloat16)
        with large.engine({**fake_gpu.weights(), "w": given}) as engine:
            found = download(engine, "stream", bits.size).reshape(ROWS, COLUMNS)
        np.testing.assert_array_equal(found, bits[order])
        figures["of PyTorch"] = True
    began = time.perf_counter()
    with large.engine("random", seed=1) as engine:
        figures["s with random weights"] = time.perf_counter() - began
        found = download(engine, "stream", bits.size)
    values = (found.astype(np.uint32) << 16).view(np.float32)
    assert abs(values).max() <= np.sqrt(3 / COLUMNS) * 1.01 and values.std() > 0.5 / np.sqrt(COLUMNS)
    return figures


def check_refusals() -> Figures:
    """For another GPU, not code at all, too many workers, too many pages."""
    wrong = program()
    wrong.manifest["target"]["arch"] = "sm_80"
    broken = program()
    broken.code = b"not code"
    crowded = program(workers=100_000)
    cases = ((wrong, None, "made for sm_80"), (broken, None, "cannot be loaded by this driver"),
             (crowded, None, "made for 100000 workers"), (program(), 1 << 33, "has too little memory"))  # fmt: skip
    for made, pages, pattern in cases:
        try:
            made.engine(pool_pages=pages)
        except mk.MkError as error:
            require(pattern in str(error) and "\n" not in str(error), f"expected '{pattern}', found: {error}")
        else:
            raise suite.Failed(f"nothing was refused; expected '{pattern}'")
    return {"refusals": len(cases)}


def check_memory(gpu: Any, before: int) -> Figures:
    """`before`: bytes that were free before all other checks."""
    gc.collect()
    left = (before - gpu.free_memory()[0]) / 2**20
    require(left < 64, f"{left:.0f} MiB are left behind; the largest engine had 256")
    return {"MiB left behind": left}


def checks(report: Report, folder: Path) -> None:
    """Needs nothing of the folder."""
    with program().engine() as engine:  # what the driver keeps for good comes with the first
        gpu = engine._device._gpu
    gc.collect()
    before = gpu.free_memory()[0]
    for check in (check_runs, check_cancel, check_turns, check_stall, check_refusals, check_packing):
        report.attempt(f"runtime: {check.__name__.removeprefix('check_')}", check)
    report.attempt("runtime: memory", check_memory, gpu, before)
    if importlib.util.find_spec("torch") is not None:
        importlib.import_module("torch")
        report.attempt("runtime: packing beside PyTorch", check_packing)


if __name__ == "__main__":
    suite.main(checks)
