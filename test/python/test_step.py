# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`Engine.step` with a program by hand (fake_program.c) that computes what a test can compute."""

from __future__ import annotations

from typing import Any

import fake_program as fake
import numpy as np
import pytest
import torch
from mk.errors import InputError, PackageError

PROMPT = fake.PROMPT


@pytest.fixture
def engine():
    with fake.program().engine() as engine:
        yield engine


def test_step_computes_every_row(engine: Any):
    logits = engine.step(PROMPT[:3], [0, 1, 2], [0, 0, 0])
    assert logits.dtype == np.float32 and logits.shape == (3, fake.VOCABULARY)
    for n in range(3):
        np.testing.assert_array_equal(logits[n], fake.expected_row(PROMPT[: n + 1]))


def test_step_of_any_size_is_cut(engine: Any):
    # 9 tokens at 4 a step and 3 rows a step, two slots mixed, positions descending.
    other = [7, 7, 0, 2, 8, 1]
    order = [(0, p) for p in range(len(PROMPT))] + [(1, p) for p in range(len(other))]
    order = order[::-1]
    tokens = [(PROMPT, other)[slot][p] for slot, p in order]
    logits = engine.step(tokens, [p for _, p in order], [slot for slot, _ in order])
    for row, (slot, p) in zip(logits, order, strict=True):
        np.testing.assert_array_equal(row, fake.expected_row((PROMPT, other)[slot][: p + 1]))
    assert engine.length(0) == len(PROMPT) and engine.length(1) == len(other)


def test_rows_may_be_any_tokens(engine: Any):
    rows = [8, 0, 8, 8, 3, 8]
    logits = engine.step(PROMPT, range(9), [1] * 9, rows=rows)
    assert logits.shape == (6, fake.VOCABULARY)
    for row, n in zip(logits, rows, strict=True):
        np.testing.assert_array_equal(row, fake.expected_row(PROMPT[: n + 1]))


def test_step_without_rows_or_tokens(engine: Any):
    assert engine.step([1, 2], [0, 1], [0, 0], rows=[]).shape == (0, fake.VOCABULARY)
    assert engine.step([], [], []).shape == (0, fake.VOCABULARY)
    np.testing.assert_array_equal(engine.step([3], [2], [0])[0], fake.expected_row([1, 2, 3]))


def test_slots_do_not_see_each_other_and_pages_return(engine: Any):
    for _ in range(5):  # more tokens in all than the pool holds
        for slot in (0, 1):
            engine.reset(slot)
        for p, token in enumerate([5, 6, 7] * 10):
            first, second = engine.step([token, token + 1], [p, p], [0, 1])
        np.testing.assert_array_equal(first, fake.expected_row([5, 6, 7] * 10))
        np.testing.assert_array_equal(second, fake.expected_row([6, 7, 8] * 10))


def test_positions_can_be_written_again(engine: Any):
    engine.step([1, 2, 3, 4], range(4), [0] * 4)
    np.testing.assert_array_equal(engine.step([9], [1], [0])[0], fake.expected_row([1, 9]))
    assert engine.length(0) == 2
    with pytest.raises(InputError, match="position 3 of slot 0 has no token before it"):
        engine.step([4], [3], [0])


def test_dlpack(engine: Any):
    logits = engine.step(
        torch.tensor([3]), torch.tensor([0], dtype=torch.int32), torch.zeros(1, dtype=torch.int64)
    )
    np.testing.assert_array_equal(logits[0], fake.expected_row([3]))


BAD_STEPS = [
    (([10], [0], [0]), r"tokens\[0\] is 10, expected 0 .. 9"),
    (([1, -1], [0, 1], [0, 0]), r"tokens\[1\] is -1"),
    (([1], [32], [0]), r"positions\[0\] is 32, expected 0 .. 31 \(max_length\)"),
    (([1], [0], [2]), r"slots\[0\] is 2"),
    (([1.5], [0], [0]), "tokens must be integers, not float64"),
    (([[1]], [0], [0]), "tokens must have one dimension"),
    (([1, 2], [0], [0, 0]), "2 tokens, 1 positions, 2 slots"),
    (([1, 2], [0, 0], [0, 0]), "position 0 of slot 0 comes twice"),
    (([1, 2], [0, 2], [0, 0]), "position 2 of slot 0 has no token before it"),
    (([1], [1], [1]), "position 1 of slot 1 has no token before it: the slot holds 0 tokens"),
    (([1], [0], [0], [1]), r"rows\[0\] is 1, expected 0 .. 0"),
    ((["a"], [0], [0]), "tokens must be integers"),
    ((object(), [0], [0]), "tokens"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_STEPS)
def test_bad_steps_are_refused_and_change_nothing(engine: Any, arguments: Any, message: str):
    with pytest.raises(InputError, match=message):
        engine.step(*arguments)
    assert engine.length(0) == engine.length(1) == 0
    np.testing.assert_array_equal(engine.step([3], [0], [0])[0], fake.expected_row([3]))


def test_pool_can_run_out_of_pages():
    with fake.program().engine(pool_pages=3) as engine:
        engine.step([1] * 8, range(8), [0] * 8)
        with pytest.raises(InputError, match="1 free pages of 4 positions, but slot 1 needs 2 more"):
            engine.step([1] * 5, range(5), [1] * 5)
        engine.reset(0)
        assert engine.step([1] * 5, range(5), [1] * 5).shape == (5, fake.VOCABULARY)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_step_without_pages_for_every_slot_takes_none(order: list[int]):
    with fake.program().engine(pool_pages=3) as engine:
        slots = [slot for slot in order for _ in range(8)]
        with pytest.raises(InputError, match=r"3 free pages .* slot 0 needs 2 more, slot 1 needs 2 more"):
            engine.step([1] * 16, [*range(8)] * 2, slots)
        assert engine.length(0) == engine.length(1) == 0
        # Either slot alone finds the whole pool.
        assert engine.step([1] * 12, range(12), order[:1] * 12).shape == (12, fake.VOCABULARY)


def test_a_length_that_ends_within_a_page_is_kept():
    program = fake.program()
    program.manifest["sizes"]["max_length"] = 30
    with program.engine() as engine:
        assert engine.max_length == 30 and engine.pool_pages == 16
        np.testing.assert_array_equal(
            engine.step([1] * 30, range(30), [0] * 30)[-1], fake.expected_row([1] * 30)
        )
        with pytest.raises(InputError, match=r"positions\[0\] is 30, expected 0 .. 29 \(max_length\)"):
            engine.step([1], [30], [0])


def test_a_program_for_another_processor_is_refused():
    program = fake.program()
    program.manifest["target"]["features"] = ["avx999"]
    with pytest.raises(PackageError, match="made for a processor with avx999, which this one lacks"):
        program.engine()
