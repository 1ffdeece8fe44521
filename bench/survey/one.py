# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One class through mk: imported, compiled, run on ragged steps on the CPU, and compared with Hugging Face."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

TOLERANCE = 2e-4  # of the largest logit of a sequence
# Each step is a list of (slot, number of its next tokens): chunks of prompts and single tokens, slots out of order.
HISTORY = [
    [(3, 5)],
    [(0, 17), (3, 1)],
    [(5, 2), (0, 1), (3, 9)],
    [(0, 1), (3, 1), (5, 1)],
    [(5, 30), (3, 1)],
    [(5, 1), (0, 1), (3, 1)],
]
# One worker: the logits have the same bits with more, which on a busy machine wait for each other.
OPTIONS: dict[str, Any] = {
    "dtype": "float32",
    "max_length": 128,
    "split": 64,
    "workers": 1,
    "use_cache": False,
}
Logits = dict[int, np.ndarray[Any, Any]]


def survey_class(class_name: str, family: str, report: Any) -> None:
    """Calls `report` with what is known of the class so far, after each stage.

    `outcome` is one of "not built" (the class does not build small or does not run a text), "refused" (mk says why),
    "fails" (anything else that is no result), "wrong", "matches".
    """
    began = time.perf_counter()
    known: dict[str, Any] = {"class": class_name, "family": family, "stage": "build", "outcome": "not built"}

    def tell(**more: Any) -> None:
        known.update(more, seconds=round(time.perf_counter() - began, 1))
        report(dict(known))

    from mk.errors import CompileError

    from bench.survey.sizes import small_model

    try:
        model = small_model(class_name)
        tokens = texts(model.config.get_text_config().vocab_size)
        expected = hugging_face(model, tokens)
    except Exception as error:  # whatever the class raises
        return tell(reason=one_line(error))
    tell(stage="import", outcome="fails", weights=sum(p.numel() for p in model.parameters()))
    try:
        program = compiled(model, tell)
        tell(stage="run", fused=fused_share(program.manifest))
        found = ragged(program, tokens)
    except CompileError as error:
        return tell(outcome="refused", reason=one_line(error, named=False))
    except Exception as error:  # a fault of mk, and a result all the same
        return tell(reason=one_line(error))
    error = largest_error(found, expected)
    tell(outcome="matches" if error < TOLERANCE else "wrong", error=error)


def compiled(model: Any, tell: Any) -> Any:
    import mk

    def progress(phase: str) -> None:
        if phase == "compile":
            tell(stage="compile")

    return mk.compile_module(model, progress=progress, **OPTIONS)


def texts(vocabulary: int) -> dict[int, list[int]]:
    """Random tokens for each slot of the history, none of them the first three, which are special."""
    generator = np.random.default_rng(0)
    lengths: dict[int, int] = {}
    for slot, count in (part for step in HISTORY for part in step):
        lengths[slot] = lengths.get(slot, 0) + count
    return {slot: generator.integers(3, vocabulary, n).tolist() for slot, n in lengths.items()}


def hugging_face(model: Any, tokens: dict[int, list[int]]) -> Logits:
    """The logits of whole sequences by the class's own eager code, in float32."""
    import torch

    eager(model)
    found = {}
    with torch.no_grad():
        for slot, ids in tokens.items():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()
            if logits.shape[0] != len(ids) or not np.isfinite(logits).all():
                raise ValueError(f"its logits for {len(ids)} tokens are {list(logits.shape)}, or not finite")
            found[slot] = logits
    return found


def eager(model: Any) -> None:
    """Chooses the class's own written-out code for attention and experts."""
    for choose in ("set_attn_implementation", "set_experts_implementation"):
        try:
            getattr(model, choose)("eager")
        except Exception:  # a class that has one way only
            continue


def ragged(program: Any, tokens: dict[int, list[int]]) -> Logits:
    """The logits of the same tokens by the program, in the steps of the history."""
    rows: dict[int, list[Any]] = {slot: [] for slot in tokens}
    with program.engine() as engine:
        for step in HISTORY:
            ids: list[int] = []
            positions: list[int] = []
            slots: list[int] = []
            for slot, count in step:
                begin = len(rows[slot])
                ids += tokens[slot][begin : begin + count]
                positions += range(begin, begin + count)
                slots += [slot] * count
            for slot, row in zip(slots, engine.step(ids, positions, slots), strict=True):
                rows[slot].append(np.array(row)[None])
    return {slot: np.concatenate(parts) for slot, parts in rows.items()}


def largest_error(found: Logits, expected: Logits) -> float:
    """Relative to the largest logit of the sequence; infinite for what is no number."""
    errors = [
        float(np.abs(found[slot] - expected[slot]).max() / np.abs(expected[slot]).max()) for slot in expected
    ]
    return max(errors) if np.isfinite(errors).all() else float("inf")


def fused_share(manifest: Any) -> float:
    """Of the bytes of weights that a step may read, the part that no generic kind reads."""
    total = generic = 0
    for weight in manifest["weights"]:
        size = int(np.prod(weight["shape"]))
        readers = [family["kind"] for family in manifest["families"] if weight["name"] in family["operands"]]
        total += size
        generic += size if any("generic" in kind for kind in readers) else 0
    return round(1 - generic / max(total, 1), 4)


def one_line(error: BaseException, named: bool = True) -> str:
    text = " ".join(str(error).partition("; to replay")[0].split())[:300]
    return f"{type(error).__name__}: {text}" if named else text
