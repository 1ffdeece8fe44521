# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program by hand (fake_program.c), its manifest, and what it should compute."""

from __future__ import annotations

import copy
import functools
import platform
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mk.program import Facts, Program

HERE = Path(__file__).parent
ABI = HERE.parent.parent / "runtime" / "abi" / "Abi.def"

VOCABULARY, LANES, PAGE = 10, 4, 4
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5]  # longer than a step and than two pages
SIZES = {"max_tokens": 4, "max_rows": 3, "max_sequences": 2, "max_length": 32, "slot_pages": 8, "page": PAGE,
         "split": 8}  # fmt: skip
PITCH, BIAS, CONTROL, LOGITS = 64, 64, 128, 128
BYTES = {"i32": 4, "f32": 4, "i64": 8}


def abi() -> dict[str, Any]:
    """Abi.def for these sizes, read with a regular expression: not the compiler's way, so that a test compares both."""
    text = re.sub(r'"\s*\n\s*"', "", ABI.read_text())
    fields = {
        group: [
            {"name": name, "index": int(index), "doc": doc}
            for name, index, doc in re.findall(rf'^MK_{group}\((\w+), (\d+), "(.*)"\)$', text, re.M)
        ]
        for group in ("INSTRUCTION", "CONTEXT")
    }
    counts = {
        "one": 1,
        "tokens": SIZES["max_tokens"],
        "rows": SIZES["max_rows"],
        "slots": SIZES["max_sequences"],
        "page_table": SIZES["max_sequences"] * SIZES["slot_pages"],
        "stops": 4,
        "mailbox": 2 * SIZES["slot_pages"] * PAGE,
    }
    request, offset = [], 0
    for name, kind, count, doc in re.findall(r'^MK_REQUEST\((\w+), (\w+), (\w+), "(.*)"\)$', text, re.M):
        request.append({"name": name, "type": kind, "count": counts[count], "offset": offset, "doc": doc})
        offset += -(-counts[count] * BYTES[kind] // 64) * 64
    context = [field for field in fields["CONTEXT"] if field["name"] != "words"]
    return {
        "instruction_words": 32,
        "context_words": next(f["index"] for f in fields["CONTEXT"] if f["name"] == "words"),
        "instruction": fields["INSTRUCTION"],
        "context": context,
        "request": request,
    }


@functools.cache
def _code() -> bytes:
    macros = {f"AT_{a['name']}": a["offset"] for a in abi()["request"]}
    macros |= {
        "MAX_LENGTH": SIZES["slot_pages"] * PAGE,
        "PAGE": PAGE,
        "VOCABULARY": VOCABULARY,
        "PITCH": PITCH,
        "BIAS": BIAS,
        "CONTROL": CONTROL,
        "LOGITS": LOGITS,
    }
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fake.so"
        subprocess.run(
            [
                "cc",
                "-O1",
                "-Wall",
                "-Werror",
                "-shared",
                "-fPIC",
                str(HERE / "fake_program.c"),
                "-o",
                str(library),
                *(f"-D{name}={value}" for name, value in macros.items()),
            ],
            check=True,
        )
        return library.read_bytes()


@functools.cache
def _program() -> Program:
    # Stream: tile 0 at byte 64, tile 1 at byte 0, so that a runtime that ignores tile_offsets fails.
    offsets = np.array([1, 0], np.int64)
    table = np.zeros((2, 2, 32), np.int32)
    table[:, :, 14] = -1
    table[:, 0, 15] = offsets
    table[:, 1, 0] = -1
    request = abi()["request"]
    segment = {"base": 0, "limit": VOCABULARY, "outer": 2, "stride": 8, "half": 4, "partner": 4}
    weight = {"layout": "rows", "dtype": "float32", "gathered": False, "scale": None, "segments": []}
    manifest: Any = {
        "format": 6,
        "gpu": None,
        "version": "test",
        "options": {},
        "entry": "mk_main",
        "vocabulary": VOCABULARY,
        "logits": "logits",
        "target": {
            "kind": "cpu",
            "arch": platform.machine(),
            "cpu": "",
            "features": [],
            "workers": 2,
            "lanes": LANES,
            "bandwidth": 1,
        },
        "sizes": SIZES,
        "arenas": {
            "activations": 512,
            "flagged": 0,
            "params": 192,
            "stream": 128,
            "scratch": 0,
            "events": 128,
            "context": 128,
            "request": request[-1]["offset"] + 4 * request[-1]["count"],
        },
        "cache": {"layers": 1, "heads": 1, "head_dim": 1, "dtype": "float32", "block": 2 * PAGE * 4},
        "weights": [
            {
                **weight,
                "name": "w",
                "sources": ["a.weight", "b.weight"],
                "views": [None, None],
                "layout": "tiles",
                "shape": [VOCABULARY, 2],
                "offset": 0,
                "gathered": True,
                "segments": [segment],
            },
            {
                **weight,
                "name": "bias",
                "sources": ["bias"],
                "views": [None],
                "shape": [VOCABULARY],
                "offset": BIAS,
            },
            {
                **weight,
                "name": "control",
                "sources": ["control"],
                "views": [None],
                "shape": [2],
                "offset": CONTROL,
            },
        ],
        "buffers": [
            {
                "name": "logits",
                "domain": "rows",
                "request": False,
                "shape": [None, VOCABULARY],
                "dtype": "float32",
                "offset": LOGITS,
                "pitch": PITCH,
            }
        ],
        "kinds": [{"name": "all", "kind_class": "serial", "domain": "rows", "units": 1}],
        "families": [
            {
                "name": "model",
                "kind": "all",
                "module": "model",
                "operands": ["w", "bias"],
                "results": ["logits"],
                "conditions": [],
            }
        ],
        "events": ["appended", "finished"],
        "abi": abi(),
    }
    facts = Facts("fake", SIZES["max_length"], (9,), 1, {}, {"other.bias": "bias"})
    return Program(
        manifest, {"table": table, "counts": np.array([1, 1]), "tile_offsets/w": offsets}, _code(), {}, facts
    )


def program(*, microseconds: float = 0, hang_at: int = -1, **fields: Any) -> Program:
    """A new program with its weights; a step takes at least `microseconds`, step number `hang_at` never ends."""
    base = _program()
    made = Program(
        copy.deepcopy(base.manifest),
        {name: array.copy() for name, array in base.arrays.items()},
        base.code,
        {},
        base.facts,
        weights=weights(microseconds, hang_at),
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def weights(microseconds: float = 0, hang_at: int = -1) -> dict[str, np.ndarray[Any, Any]]:
    """A checkpoint; the rows of w are spread over two tensors of different dtypes."""
    random = np.random.default_rng(0)
    return {
        "a.weight": random.integers(-3, 3, (6, 2)).astype(np.float16),
        "b.weight": random.integers(-3, 3, (4, 2)).astype(np.float32),
        "bias": np.arange(VOCABULARY, dtype=np.float32) / 16,
        "control": np.array([microseconds, hang_at], np.float32),
    }


def expected_row(history: list[int]) -> np.ndarray[Any, Any]:
    """Logits of the last token of a slot that holds these tokens from position 0."""
    held = weights()
    w = np.concatenate([held["a.weight"].astype(np.float32), held["b.weight"]])
    total = sum((token * 31 + position * 7) % 101 for position, token in enumerate(history))
    v = np.arange(VOCABULARY)
    return ((total * (v + 3)) % 97 + held["bias"] + w[:, 0] + 2 * w[:, 1]).astype(np.float32)


def expected_tokens(prompt: list[int], count: int, *, shift: int = 0) -> list[int]:
    """Tokens of a generation; `shift` is what the fake's "sampling" adds to the likeliest token."""
    history = list(prompt)
    for _ in range(count):
        history.append((int(expected_row(history).argmax()) + shift) % VOCABULARY)
    return history[len(prompt) :]
