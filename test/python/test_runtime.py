# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The native runtime and the engine, with a program by hand (fake_program.c) that computes what a test can compute."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import threading
import time
from typing import Any

import fake_program as fake
import ml_dtypes
import numpy as np
import pytest
from mk.errors import DeviceStalled, InputError, WeightError
from mk.runtime import native, packing
from mk.runtime.abi import abi_hash

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5]


@pytest.fixture
def engine():
    with fake.program().engine() as engine:
        yield engine


# --------------------------------------------------------------------------------------------------------- native


def test_abi_hash_of_the_manifest_is_that_of_the_library():
    assert abi_hash(fake.abi()) == native.library().mk_abi_hash()
    changed = fake.abi()
    changed["instruction"][3]["index"] += 1
    assert abi_hash(changed) != native.library().mk_abi_hash()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("source_dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_packed_tiles_are_the_layout_of_the_dialect(dtype: str, source_dtype: str, lanes: int):
    random = np.random.default_rng(1)
    columns, half = 131, 12  # an odd K, and groups that leave lanes empty
    parts = [random.standard_normal((rows, columns)).astype(source_dtype) for rows in (30, 26)]
    segments = [
        {"base": 0, "limit": 48, "outer": 2, "stride": 24, "half": half, "partner": half},
        {"base": 48, "limit": 56, "outer": 1, "stride": 2 * lanes, "half": lanes, "partner": lanes},
    ]
    units = sum(s["outer"] * -(-s["half"] // lanes) for s in segments)
    per_word = 4 // packing.ELEMENT_BYTES[dtype]
    words = -(-columns // per_word)
    tile_bytes = words * 2 * lanes * 4
    offsets = random.permutation(units) * -(-tile_bytes // 64)
    weight: Any = {
        "name": "w",
        "sources": ["a", "b"],
        "layout": "tiles",
        "shape": [56, columns],
        "dtype": dtype,
        "offset": None,
        "gathered": False,
        "segments": segments,
    }
    stream = native.Memory(int(offsets.max() + 1) * 64 + tile_bytes)
    packing._pack_tiles(weight, parts, offsets, stream, lanes)

    matrix = np.concatenate(parts).astype(np.float32).astype(dtype)
    tile = 0
    for segment in segments:
        per_outer = -(-segment["half"] // lanes)
        for unit in range(segment["outer"] * per_outer):
            o, s = divmod(unit, per_outer)
            expected = np.zeros((words, 2, lanes, per_word), dtype)
            for group in range(2):
                first = segment["base"] + o * segment["stride"] + s * lanes + group * segment["partner"]
                for lane in range(min(lanes, segment["half"] - s * lanes)):
                    if first + lane < segment["limit"]:
                        row = np.zeros(words * per_word, dtype)
                        row[:columns] = matrix[first + lane]
                        expected[:, group, lane] = row.reshape(words, per_word)
            found = stream.view(int(offsets[tile]) * 64, dtype, expected.size).reshape(expected.shape)
            np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))
            tile += 1


def test_conversion_rounds_to_nearest_even():
    bits = np.random.default_rng(2).integers(0, 2**32, 100_000, dtype=np.uint32)
    values = bits.view(np.float32)
    memory = native.Memory(values.size * 2)
    native.library().mk_convert(values.ctypes.data, 0, memory.address, 1, values.size, 2)
    with np.errstate(invalid="ignore"):
        expected = values.astype(ml_dtypes.bfloat16)
    found = memory.view(0, "bfloat16", values.size)
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(found.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])
    assert np.isnan(found[~numbers].astype(np.float32)).all()


def test_conversion_from_float16_is_exact():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    memory = native.Memory(halves.size * 4)
    native.library().mk_convert(halves.ctypes.data, 2, memory.address, 0, halves.size, 2)
    np.testing.assert_array_equal(memory.view(0, "float32", halves.size), halves.astype(np.float32))


def test_views_keep_memory_alive():
    view = native.Memory(1 << 20).view(4096, "float32", 16)
    view[:] = 7
    others = [native.Memory(1 << 20) for _ in range(8)]
    assert (view == 7).all() and len(others) == 8


def test_read_bandwidth_is_plausible():
    assert 1e8 < native.read_bandwidth(size=1 << 25, seconds=0.05) < 1e13


# --------------------------------------------------------------------------------------------------------- step


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
    torch = pytest.importorskip("torch")
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


# --------------------------------------------------------------------------------------------------------- generate


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


def test_ctrl_c_ends_a_generation_and_the_engine_lives_on():
    with fake.program(microseconds=50_000).engine() as engine:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(engine.generate([1], max_new_tokens=30))
        assert time.monotonic() - begin < 1.0
        assert list(engine.generate([2], max_new_tokens=2)) == fake.expected_tokens([2], 2)


def test_ctrl_c_in_a_step_forgets_what_was_not_written():
    with fake.program(microseconds=100_000).engine() as engine:
        engine.step([1], [0], [0])
        timer = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            engine.step([1] * 31, range(1, 32), [0] * 31)
        assert engine.length(0) == 1
        np.testing.assert_array_equal(engine.step([3], [1], [0])[0], fake.expected_row([1, 3]))


# ------------------------------------------------------------------------------------------------- life and death


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


def test_logits_outlive_the_engine():
    with fake.program().engine() as engine:
        logits = engine.step([3], [0], [0])
    np.testing.assert_array_equal(logits[0], fake.expected_row([3]))


def test_engines_give_their_threads_and_memory_back():
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before = threads()
    for _ in range(20):
        fake.program().engine()  # not even closed
    assert threads() <= before + 2


def test_more_workers_than_cores():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with fake.program().engine() as engine:
            assert list(engine.generate(PROMPT, max_new_tokens=10)) == fake.expected_tokens(PROMPT, 10)
    finally:
        os.sched_setaffinity(0, allowed)


# --------------------------------------------------------------------------------------------------------- weights


def test_weights_may_be_given_and_replace_the_programs_own():
    changed = {**fake.weights(), "bias": np.full(fake.VOCABULARY, 100, np.float32)}
    with fake.program().engine(changed) as engine:
        difference = engine.step([3], [0], [0])[0] - fake.expected_row([3])
    np.testing.assert_allclose(difference, 100 - fake.weights()["bias"], rtol=1e-5)


@pytest.mark.parametrize("name", ["other.bias", "model.bias"])
def test_weights_are_found_under_a_tied_name_only(name: str):
    held = fake.weights()
    held[name] = held.pop("bias")
    if name == "other.bias":
        fake.program().engine(held).close()
    else:
        with pytest.raises(WeightError, match="no weight named bias"):
            fake.program().engine(held)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bias", np.zeros((fake.VOCABULARY, 1), np.float32), r"bias is \[10, 1\]"),
        ("bias", np.zeros(9, np.float32), "bias: 9 rows, the program expects 10"),
        ("b.weight", np.zeros((4, 3), np.float32), r"b.weight is \[4, 3\]"),
        ("b.weight", np.zeros((4, 2), np.int8), "b.weight is int8"),
    ],
)
def test_weights_of_another_shape_are_refused(name: str, value: Any, message: str):
    with pytest.raises(WeightError, match=message):
        fake.program().engine({**fake.weights(), name: value})


def test_program_without_weights_says_so():
    with pytest.raises(WeightError, match=r"give engine\(weights=\.\.\.\)"):
        fake.program(weights=None).engine()


def test_program_whose_weights_have_moved_says_so():
    with pytest.raises(WeightError, match="the weights were in /nowhere, which is not there"):
        fake.program(weights=None, source="/nowhere").engine()


def test_closing_wakes_workers_that_are_about_to_sleep() -> None:
    """Workers spin for 1.5 ms before they sleep: an engine closed at any moment around that must not wait for them."""
    program, weights = fake.program(), fake.weights()
    for turn in range(300):
        engine = program.engine(weights)
        time.sleep(0.0012 + 0.0006 * (turn % 30) / 30)
        engine.close()
