# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Engines side by side, stalled, idle, closed and forgotten, with the program of fake_program.c."""

from __future__ import annotations

import os
import resource
import threading
import time
from typing import Any

import fake_program as fake
import numpy as np
import pytest
from mk.errors import DeviceStalled, InputError

PROMPT = fake.PROMPT


@pytest.fixture
def engine():
    with fake.program().engine() as engine:
        yield engine


def test_stall_becomes_an_error_that_says_who_waits():
    engine = fake.program(hang_at=1).engine(stall_seconds=0.3)
    engine.step([1], [0], [0])
    begin = time.monotonic()
    with pytest.raises(DeviceStalled, match=r"worker 0 waits for event 1 \(finished\), worker 1 waits"):
        engine.step([1], [1], [0])
    assert 0.2 < time.monotonic() - begin < 3
    with pytest.raises(DeviceStalled, match="make a new one"):
        engine.step([1], [1], [0])
    engine.close()
    with fake.program().engine() as other:
        assert list(other.generate([1], max_new_tokens=2)) == fake.expected_tokens([1], 2)


def test_slow_work_is_no_stall():
    with fake.program(microseconds=600_000).engine(stall_seconds=0.1) as engine:
        np.testing.assert_array_equal(engine.step([3], [0], [0])[0], fake.expected_row([3]))


def test_idle_engine_burns_nothing(engine: Any):
    engine.step([1], [0], [0])
    time.sleep(0.05)
    before = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(0.5)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.05


def test_engines_live_side_by_side_and_close():
    engines = [fake.program().engine() for _ in range(3)]
    for index, engine in enumerate(engines):
        np.testing.assert_array_equal(engine.step([index], [0], [0])[0], fake.expected_row([index]))
    engines[0].close()
    engines[0].close()
    with pytest.raises(InputError, match="closed"):
        engines[0].step([1], [0], [0])
    np.testing.assert_array_equal(engines[1].step([3], [0], [1])[0], fake.expected_row([3]))
    for engine in engines[1:]:
        engine.close()


def test_engines_run_at_the_same_time():
    results: dict[int, list[int]] = {}

    def work(index: int) -> None:
        with fake.program().engine() as engine:
            for _ in range(20):
                results[index] = list(engine.generate([index], max_new_tokens=20))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {index: fake.expected_tokens([index], 20) for index in range(3)}


def test_close_ends_a_generation():
    engine = fake.program(microseconds=20_000).engine()
    tokens = engine.generate([1], max_new_tokens=30)
    next(tokens)
    engine.close()
    assert list(tokens) == []


def test_close_while_another_thread_takes_tokens_says_so():
    engine = fake.program(microseconds=20_000).engine()
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.extend(engine.generate([1], max_new_tokens=20)))
    thread.start()
    time.sleep(0.1)
    with pytest.raises(InputError, match="a generation is under way in another thread"):
        engine.close()
    thread.join()
    assert taken == fake.expected_tokens([1], 20)
    engine.close()


def test_logits_outlive_the_engine():
    with fake.program().engine() as engine:
        logits = engine.step([3], [0], [0])
    np.testing.assert_array_equal(logits[0], fake.expected_row([3]))


@pytest.mark.parametrize("close", [True, False])
def test_engines_give_their_threads_and_memory_back(close: bool):
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before = threads()
    for _ in range(20):
        engine = fake.program().engine()
        list(engine.generate([1], max_new_tokens=3))
        if close:
            engine.close()
        del engine
    assert threads() <= before + 2


def test_more_workers_than_cores():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with fake.program().engine() as engine:
            assert list(engine.generate(PROMPT, max_new_tokens=10)) == fake.expected_tokens(PROMPT, 10)
    finally:
        os.sched_setaffinity(0, allowed)


def test_closing_wakes_workers_that_are_about_to_sleep() -> None:
    """Workers spin for 1.5 ms before they sleep: an engine closed at any moment around that must not wait for them."""
    program, weights = fake.program(), fake.weights()
    for turn in range(300):
        engine = program.engine(weights)
        time.sleep(0.0012 + 0.0006 * (turn % 30) / 30)
        engine.close()
