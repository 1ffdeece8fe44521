# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`Engine.generate` with a program by hand (fake_program.c): the tokens, their end, and what interrupts them."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from typing import Any

import fake_program as fake
import numpy as np
import pytest
from mk.errors import InputError

PROMPT = fake.PROMPT


@pytest.fixture
def engine():
    with fake.program().engine() as engine:
        yield engine


@pytest.mark.parametrize("length", [1, 4, 5, 9])
def test_generation_is_that_of_steps(engine: Any, length: int):
    prompt = PROMPT[:length]
    assert list(engine.generate(prompt, max_new_tokens=12)) == fake.expected_tokens(prompt, 12)
    assert engine.length(0) == length + 11


def test_generation_to_the_last_position(engine: Any):
    room = fake.SIZES["max_length"] - len(PROMPT) + 1
    assert list(engine.generate(PROMPT, max_new_tokens=room)) == fake.expected_tokens(PROMPT, room)
    with pytest.raises(InputError, match=f"leaves room for {room} new tokens"):
        engine.generate(PROMPT, max_new_tokens=room + 1)


def test_step_goes_on_where_generation_ended(engine: Any):
    tokens = list(engine.generate(PROMPT, max_new_tokens=5, slot=1))
    logits = engine.step(tokens[-1:], [engine.length(1)], [1])
    np.testing.assert_array_equal(logits[0], fake.expected_row(PROMPT + tokens))


def test_stop_token_ends_and_is_not_yielded(engine: Any):
    expected = fake.expected_tokens(PROMPT, 20)
    stop = next(token for index, token in enumerate(expected) if index > 2 and token not in expected[:index])
    assert (
        list(engine.generate(PROMPT, max_new_tokens=20, stop_ids=[stop])) == expected[: expected.index(stop)]
    )


def test_stops_of_one_generation_do_not_outlive_it(engine: Any):
    expected = fake.expected_tokens(PROMPT, 8)
    assert list(engine.generate(PROMPT, max_new_tokens=8, stop_ids=[expected[0]])) == []
    assert list(engine.generate(PROMPT, max_new_tokens=8)) == expected


def test_sampling_options_reach_the_program(engine: Any):
    tokens = list(engine.generate(PROMPT, max_new_tokens=6, temperature=0.5, seed=2, top_k=1))
    assert tokens == fake.expected_tokens(PROMPT, 6, shift=3)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": float("nan")},
        {"temperature": -1},
        {"temperature": float("inf")},
        {"temperature": 1e39},
        {"top_p": 0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"top_k": -1},
        {"top_k": 1.5},
        {"seed": 2**31},
        {"max_new_tokens": 0},
        {"slot": 2},
        {"stop_ids": [10]},
        {"stop_ids": range(5)},
        {"temperature": "hot"},
    ],
)
def test_bad_generations_are_refused_at_once(engine: Any, options: dict[str, Any]):
    with pytest.raises(InputError):
        engine.generate(PROMPT, **options)


def test_empty_prompt_is_refused(engine: Any):
    with pytest.raises(InputError, match="at least one token"):
        engine.generate([])


def test_tokens_arrive_while_the_run_goes_on_and_closing_cancels_it():
    with fake.program(microseconds=50_000).engine() as engine:
        begin = time.monotonic()
        tokens = engine.generate([1], max_new_tokens=30)
        first = list(itertools.islice(tokens, 2))
        assert first == fake.expected_tokens([1], 2)
        assert time.monotonic() - begin < 0.8  # all 30 take 1.5 s
        tokens.close()
        assert time.monotonic() - begin < 1.0
        assert engine.length(0) < 20
        assert list(engine.generate([2], max_new_tokens=3)) == fake.expected_tokens([2], 3)


def test_abandoned_generation_is_cancelled():
    with fake.program(microseconds=20_000).engine() as engine:
        for _ in engine.generate([1], max_new_tokens=30):
            break
        assert engine.step([1], [0], [1]).shape == (1, fake.VOCABULARY)


def test_busy_engine_refuses_a_second_call(engine: Any):
    tokens = engine.generate(PROMPT, max_new_tokens=5)
    next(tokens)
    with pytest.raises(InputError, match="busy"):
        engine.step([1], [0], [1])
    assert len(list(tokens)) == 4
    assert engine.step([1], [0], [1]).shape == (1, fake.VOCABULARY)


@pytest.fixture
def ctrl_c():
    """Python's own answer to Ctrl-C; a shell's background jobs, such as this one may be, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_generation_and_the_engine_lives_on():
    with fake.program(microseconds=50_000).engine() as engine:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(engine.generate([1], max_new_tokens=30))
        assert time.monotonic() - begin < 1.0
        assert list(engine.generate([2], max_new_tokens=2)) == fake.expected_tokens([2], 2)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_step_forgets_what_was_not_written():
    with fake.program(microseconds=100_000).engine() as engine:
        engine.step([1], [0], [0])
        timer = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            engine.step([1] * 31, range(1, 32), [0] * 31)
        assert engine.length(0) == 1
        np.testing.assert_array_equal(engine.step([3], [1], [0])[0], fake.expected_row([1, 3]))


def test_a_length_that_ends_within_a_page_ends_a_generation():
    program = fake.program()
    program.manifest["sizes"]["max_length"] = 30
    with program.engine() as engine:
        room = 30 - len(PROMPT) + 1
        assert list(engine.generate(PROMPT, max_new_tokens=room)) == fake.expected_tokens(PROMPT, room)
        with pytest.raises(InputError, match=f"leaves room for {room} new tokens"):
            engine.generate(PROMPT, max_new_tokens=room + 1)
        with pytest.raises(InputError, match=r"31 tokens leaves room for 0 new tokens.*max_length is 30"):
            engine.generate([1] * 31, max_new_tokens=1)


def test_a_generation_without_pages_leaves_its_slot_as_it_was():
    with fake.program().engine(pool_pages=3) as engine:
        engine.step([1, 2], [0, 1], [0, 0])
        engine.step([1], [0], [1])
        with pytest.raises(InputError, match="2 free pages of 4 positions, but slot 0 needs 3 more"):
            list(engine.generate(PROMPT, max_new_tokens=1))
        assert engine.length(0) == 2
        engine.step([5] * 4, range(1, 5), [1] * 4)  # takes the free page, and must take no other
        np.testing.assert_array_equal(engine.step([3], [2], [0])[0], fake.expected_row([1, 2, 3]))
