# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ranges of attention that a CTA joins on the chip, in steps of more than 8 tokens, run on this processor."""

from __future__ import annotations

import ctypes
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import gpu_machine
import numpy as np
import pytest
from gpu_machine import GpuMachine
from llama_text import Shape
from mk.compiler.driver import Lowering
from mk.ir import Module
from mk.ir.diagnostics import PassError
from mk.runtime.engine import Engine
from test_gpu_program import SHAPES, SLOTS, TINY, Make, llama, make, options, running

__all__ = ["make"]
Array = np.ndarray[Any, Any]
# The tokens of each slot in a step. Slots are as long as each other in the end, 70 tokens: three ranges of 32.
MANY = [
    (16, 0, 0, 0),
    (16, 0, 0, 0),
    (1, 0, 0, 0),
    (4, 5, 0, 0),
    (8, 0, 0, 0),
    (1, 1, 14, 0),
    (0, 16, 0, 0),
    (0, 0, 0, 1),
    (0, 0, 16, 0),
    (0, 16, 0, 0),
    (3, 2, 1, 2),
    (0, 0, 16, 0),
    (6, 6, 2, 2),
    (2, 2, 2, 2),
    (0, 8, 8, 0),
    (5, 4, 3, 1),
    (8, 10, 8, 5),
]
KINDS = {
    "tiny": TINY,
    "grouped": SHAPES["grouped"],  # a key head in two items, the second of which has one query head
    "window": SHAPES["window, softcap and sinks"],
    "wide heads": SHAPES["wide heads"],
}


def steps_of(counts: list[tuple[int, ...]]) -> list[tuple[Array, Array]]:
    """Positions and slots of each step, at most 16."""
    lengths, steps = [0] * len(counts[0]), []
    for step in counts:
        pairs = [(lengths[slot] + i, slot) for slot, count in enumerate(step) for i in range(count)]
        lengths = [length + count for length, count in zip(lengths, step, strict=True)]
        for begin in range(0, len(pairs), 16):
            positions, slots = np.array(pairs[begin : begin + 16]).T
            steps.append((positions, slots))
    return steps


def by_eights(counts: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The same tokens, at most eight of one slot in a step."""
    result = []
    for slot, total in enumerate(np.sum(counts, axis=0).tolist()):
        for begin in range(0, total, 8):
            count = min(8, total - begin)
            result.append(tuple(count if s == slot else 0 for s in range(len(counts[0]))))
    return result


def rows(machine: GpuMachine, shape: Shape, steps: list[tuple[Array, Array]]) -> dict[tuple[int, int], Array]:
    """The logits of every token, by slot and position."""
    found: dict[tuple[int, int], Array] = {}
    with running(machine, shape) as engine:
        for positions, slots in steps:
            logits = engine.step(tokens_at(shape, positions, slots), positions, slots)
            found |= {(int(s), int(p)): row for s, p, row in zip(slots, positions, logits, strict=True)}
    return found


def tokens_at(shape: Shape, positions: Array, slots: Array) -> Array:
    tokens = np.random.default_rng(11).integers(0, shape.vocabulary, (SLOTS, 512))
    return np.asarray(tokens[slots, positions])


def kernels(machine: GpuMachine) -> set[str]:
    return {name for name in machine.cuda.launched if name.startswith("mk_main")}


def written(machine: GpuMachine, engine: Engine) -> Iterator[tuple[str, Array]]:
    """Of each flagged buffer which words of the two copies have been written, [2][words]."""
    arenas = machine.program.manifest["arenas"]
    block = cast(Any, engine)._device.memory["activations"]
    size, first = arenas["flagged"], arenas["activations"] - 2 * arenas["flagged"]
    words = np.frombuffer(ctypes.string_at(block.address + first, 2 * size), np.uint32).reshape(2, -1)
    for buffer in machine.program.manifest["buffers"]:
        if first <= buffer["offset"] < first + size:
            begin = (buffer["offset"] - first) // 4
            yield buffer["name"], words[:, begin : begin + 16 * buffer["pitch"] // 4] != 0xFFFFFFFF


@pytest.mark.parametrize("name", KINDS)
def test_rows_are_those_of_steps_of_few_tokens(make: Make, name: str) -> None:
    """Steps of 1, 8, 9 and 16 tokens after each other, over several ranges: bit for bit those of at most eight."""
    shape = KINDS[name]
    machine = make(shape)
    machine.cuda.launched.clear()
    many = rows(machine, shape, steps_of(MANY))
    assert {"mk_main", "mk_main_8"} == kernels(machine)
    machine.cuda.launched.clear()
    few = rows(machine, shape, steps_of(by_eights(MANY)))
    assert {"mk_main_8"} == kernels(machine)
    assert many.keys() == few.keys() and len(many) > 200
    assert all(np.array_equal(many[at], few[at]) for at in many)


def test_long_contexts_are_joined_as_from_memory(make: Make) -> None:
    """Where a sequence may have more than eight ranges lanes of a warp share them; of more than eight that there are a
    CTA keeps none."""
    shape = dataclasses.replace(TINY, layers=1, sinks=True)
    machine = make(shape, max_length=304, max_sequences=2)
    counts = [(14, 2), (14, 2), *[(16, 0)] * 14, (9, 0), (10, 2), (1, 0), (12, 0)]
    many = rows(machine, shape, steps_of(counts))
    few = rows(machine, shape, steps_of(by_eights(counts)))
    assert many.keys() == few.keys() and max(position for _, position in many) > 8 * 32
    assert all(np.array_equal(many[at], few[at]) for at in many)


def test_ranges_are_spread_where_one_cta_would_have_too_many(make: Make) -> None:
    """Seven ranges of 16 heads are as many for each of 16 CTAs either way, those of 12 nearly, those of 9 are not."""
    shape = Shape(64, heads=1, ratio=1, head_dim=256, inner=64, vocabulary=40, layers=1)
    machine = make(shape, max_length=256, max_sequences=1, workers=16)
    counts = [(16, 0)] * 12, [(9, 0), (12, 0), (16, 0)]
    found, passed = [], []
    for after in (counts[1], by_eights(counts[1])):
        with running(machine, shape) as engine:
            for number, (positions, slots) in enumerate(steps_of([*counts[0], *after])):
                logits = engine.step(tokens_at(shape, positions, slots), positions, slots)
                if positions[0] >= 192:
                    (words,) = (w for name, w in written(machine, engine) if name.startswith("attend"))
                    found += list(logits)
                    passed.append(bool(words[number % 2].any()))
    assert passed[:3] == [True, False, False] and all(passed[3:])
    assert len(found) == 2 * 37 and np.array_equal(found[:37], found[37:])


@pytest.mark.parametrize("name", ["tiny", "window"])
def test_words_are_taken_back_whoever_wrote_them(make: Make, name: str) -> None:
    """After each step the copy that the next one writes is empty, whichever kernel ran before; and ranges that were
    joined on the chip have not been written."""
    shape = KINDS[name]
    machine, joined = make(shape), 0
    with running(machine, shape) as engine:
        for number, (positions, slots) in enumerate(steps_of(MANY)):
            engine.step(tokens_at(shape, positions, slots), positions, slots)
            for buffer, words in written(machine, engine):
                assert not words[(number + 1) % 2].any(), (number, buffer)
                passed = len(positions) <= 8 or not buffer.startswith("attend")
                assert words[number % 2].any() == passed, (number, buffer)
                joined += not passed
    assert joined >= 10


def test_a_generation_goes_from_many_tokens_to_one(make: Make) -> None:
    """In one launch: a prompt's last chunk, of ten tokens, is joined on the chip, the tokens that follow are not."""
    machine, prompt = make(TINY), [*range(40, 66)]
    with running(machine, TINY) as engine:
        tokens = list(prompt)
        for _ in range(12):
            places = range(engine.length(1), len(tokens))
            for begin in range(places.start, len(tokens), 7):
                chunk = [*range(begin, min(begin + 7, len(tokens)))]
                rows = engine.step([tokens[i] for i in chunk], chunk, [1] * len(chunk))
            tokens.append(int(rows[-1].argmax()))
        machine.cuda.launched.clear()
        assert list(engine.generate(prompt, max_new_tokens=12)) == tokens[26:]
        assert machine.cuda.launched == ["mk_main", "mk_main"]


def with_another_join(text: str) -> str:
    """A plan in which attention joins what a window of one position leaves, the family behind it everything."""
    attend, mark, rest = text.partition("mk_task.kind @combine")
    changed = re.sub(r"(mk.combine .*)\}", r"\1, window = 1 : i64}", attend, count=1)
    assert mark and changed != attend
    return changed + mark + rest


def test_both_who_join_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails for a program of which attention joins other ranges; and the proof refuses it."""

    class Other(Lowering):
        def to(self, level: str) -> None:
            super().to("plan")
            self.module = Module.parse(with_another_join(self.module.text(locations=False)), name="model")
            super().to(level)

    shape = dataclasses.replace(TINY, layers=1)
    monkeypatch.setattr(gpu_machine, "Lowering", Other)
    machine = GpuMachine(llama(shape).text, options(), tmp_path)
    many, few = (rows(machine, shape, steps_of(counts)) for counts in (MANY, by_eights(MANY)))
    differ = {at for at in many if not np.array_equal(many[at], few[at])}
    assert differ and all(position >= 32 for _, position in differ)
    lowering = Lowering(llama(shape).text, options(), None)
    lowering.to("plan")
    text = with_another_join(lowering.module.text(locations=False))
    with pytest.raises(
        PassError, match=r"writes flagged buffer 'combine_1\.out', which another family writes too"
    ):
        Lowering(text, options(), None)
