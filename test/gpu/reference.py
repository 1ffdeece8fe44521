# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a random model should answer, and how far from it rounding may lead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpu.cases import Array, Step, made_up
from gpu.suite import Figures, require

# What the interpreter does not know of a GPU: gains of norms move into the weights, which are rounded once more then.
# So a product of which it rounds one operand has two that are rounded, and at most sqrt(2) times the error; the largest
# of some hundred rows scatters. A wrong column, a stale row or a lost range is ten times that.
MEAN, LARGEST = 1.45, 2.0


@dataclass(frozen=True)
class Reference:
    """`shapes` of the weights, made up from `seed`; `steps` of at most 16 tokens; for all tokens of all steps the
    logits of Hugging Face in float32, float32 [T, vocabulary], and the interpreter's errors in bfloat16, [T]. `strays`:
    the share of rows that may be off, since what is rounded away may choose another expert."""

    shapes: dict[str, tuple[int, ...]]
    seed: int
    steps: Sequence[Step]
    exact: Array
    rounding: Array
    strays: float = 0.0

    def weights(self) -> dict[str, Array]:
        """float32, by name."""
        return made_up(self.shapes, self.seed)

    def save(self, path: Path) -> None:
        """One npz file."""
        tokens, positions, slots = (np.concatenate(part) for part in zip(*self.steps, strict=True))
        np.savez_compressed(
            path,
            about=json.dumps({"shapes": self.shapes, "seed": self.seed, "strays": self.strays}),
            counts=[len(step[0]) for step in self.steps],
            tokens=tokens,
            positions=positions,
            slots=slots,
            exact=self.exact,
            rounding=self.rounding,
        )

    @staticmethod
    def load(path: Path) -> Reference:
        """As saved."""
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            ends = np.cumsum(file["counts"])[:-1]
            parts = [np.split(file[name], ends) for name in ("tokens", "positions", "slots")]
            shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}
            steps = list(zip(*parts, strict=True))
            return Reference(
                shapes, about["seed"], steps, file["exact"], file["rounding"], about.get("strays", 0.0)
            )

    def check(self, found: Array) -> Figures:
        """Raises Failed if the logits of all tokens are further from the exact ones than rounding explains."""
        error = errors(found, self.exact)
        count = len(error) - int(self.strays * len(error))
        rows = np.argsort(error)[:count]
        best, rounding = error[rows], np.sort(self.rounding)[:count]
        figures = {
            "error": float(best.mean()),
            "interpreter": float(rounding.mean()),
            "largest": float(best.max()),
            "interpreter's": float(rounding.max()),
        }
        worst = int(rows[-1])
        at = [
            (int(s), int(p))
            for _, positions, slots in self.steps
            for p, s in zip(positions, slots, strict=True)
        ]
        require(
            bool(
                best.mean() <= MEAN * rounding.mean()
                and best.max() <= LARGEST * rounding.max()
                and np.isfinite(error).all()
            ),
            f"{figures}; the worst at slot {at[worst][0]}, position {at[worst][1]}",
        )
        return figures


def errors(found: Array, exact: Array) -> Array:
    """The distance of each row from what it should be, relative to its norm; not a number counts as infinite."""
    distance: Any = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return np.nan_to_num(distance, nan=np.inf)
