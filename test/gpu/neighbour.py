# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Another process on the GPU: `neighbour.py matmul SECONDS` uses it with PyTorch, `neighbour.py engine F.mkp` wants an
engine there. Both print a line when they have what they want; the second prints mk's error if it is refused."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "python")]


def matmul(seconds: str) -> None:
    """Products of 4096 x 4096 matrices, as many as there is time for."""
    import torch

    left, right = (torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    torch.mm(left, right)
    torch.cuda.synchronize()
    print("ready", flush=True)
    count, end = 0, time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for _ in range(20):
            torch.mm(left, right)
        torch.cuda.synchronize()
        count += 20
    print(count, flush=True)


def engine(package: str) -> None:
    """Exits with 1, after one line, if mk raises an error of its own."""
    import mk

    try:
        with mk.load(package).engine("random") as engine:
            engine.step([1], [0], [0])
    except mk.MkError as error:
        print(error)
        sys.exit(1)
    print("ready")


if __name__ == "__main__":
    {"matmul": matmul, "engine": engine}[sys.argv[1]](sys.argv[2])
