# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Generated code against the interpreter, on shapes that fill no register, page or tile, and against itself."""

from __future__ import annotations

import ctypes
import functools
import mmap
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from llama_text import Llama, Shape
from mk.compiler import Options, compile_text
from mk.compiler.options import FUSIONS
from mk.compiler.target import find_target
from mk.errors import PackageError
from mk.interpret import Interpreter
from mk.ir import Module
from mk.program import Program
from mk.runtime import cache
from mk.runtime.native import ALIGNMENT, Memory, library

Array = np.ndarray[Any, Any]
Step = tuple[Array, Array, Array, Array]  # tokens, positions, slots, rows
SLOTS, LENGTH = 4, 96
STORAGE = {"float32": "f32", "bfloat16": "bf16"}
# Relative to the largest logit. float32: sums in another order and another exp. bfloat16: rows are rounded before a
# product, and where a float32 difference of an ulp decides which way, they differ by 2^-8; of the K products of a sum
# few do, so that the sum differs by less: 3e-3 has been seen.
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}


class GuardedMemory(Memory):
    """Ends where a page begins that nobody may touch: a task that reads beyond its arena crashes, always."""

    def __init__(self, size: int) -> None:
        self.size = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
        used = -(-self.size // mmap.PAGESIZE) * mmap.PAGESIZE
        base = int(library().mk_alloc(used + mmap.PAGESIZE))
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(base + used), mmap.PAGESIZE, 0) == 0
        self.address = base + used - self.size
        owner = (ctypes.c_uint8 * self.size).from_address(self.address)
        self.bytes = np.frombuffer(memoryview(owner), np.uint8)
        self._finalizer = weakref.finalize(owner, library().mk_free, base, used + mmap.PAGESIZE)


@pytest.fixture(autouse=True)
def guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mk.runtime.device.Memory", GuardedMemory)


@functools.cache
def llama(shape: Shape, dtype: str) -> Llama:
    return Llama(shape, STORAGE[dtype])


@functools.cache
def program(shape: Shape, options: Options) -> Program:
    compiled = compile_text(llama(shape, options.dtype).text, options)
    return Program(compiled.manifest, dict(compiled.arrays), compiled.code)


def program_for(features: str, lanes: int, shape: Shape, options: Options) -> Program:
    """Like `program`, for a processor that no option names: a module that is fused already keeps its target."""
    module = Module.parse(llama(shape, options.dtype).text)
    module.set_attribute("mk.options", options.attribute())
    machine = f'kind = "cpu", features = "{features}", workers = 2, lanes = {lanes}, bandwidth = 24'
    module.set_attribute("mk.target", f"#mk.target<{machine}>")
    module.run("mk-fuse-pipeline")
    compiled = compile_text(str(module), options)
    return Program(compiled.manifest, dict(compiled.arrays), compiled.code)


def options(**values: Any) -> Options:
    sizes = {
        "max_sequences": SLOTS,
        "max_length": LENGTH,
        "max_tokens": 40,
        "page": 16,
        "split": 32,
        "workers": 2,
    }
    return Options(**{"dtype": "float32", **sizes, **values})


def run(shape: Shape, options: Options, steps: Sequence[Step]) -> list[Array]:
    """The logits of each step."""
    with program(shape, options).engine(llama(shape, options.dtype).weights) as engine:
        return [engine.step(*step) for step in steps]


def conversation(vocabulary: int, seed: int = 0) -> list[Step]:
    """Steps of 1 to 40 tokens: chunks of prompts, slots out of order, tokens of several slots mixed, and decode."""
    rng = np.random.default_rng(seed)
    lengths = [0] * SLOTS
    steps = []
    for chunks, mixed in (
        ({2: 37, 0: 3}, False),
        ({0: 5, 1: 9, 2: 1}, True),
        ({1: 1}, False),
        ({3: 13, 2: 26}, False),
        ({2: 1, 0: 1, 3: 1, 1: 1}, False),
        ({3: 40}, False),
        ({3: 3, 1: 2}, True),
    ):
        pairs = [(slot, lengths[slot] + i) for slot, chunk in chunks.items() for i in range(chunk)]
        for slot, chunk in chunks.items():
            lengths[slot] += chunk
        if mixed:
            rng.shuffle(pairs)
        slots, positions = np.array(pairs, np.int32).T
        tokens = rng.integers(0, vocabulary, len(pairs), np.int32)
        steps.append(
            (tokens, positions, slots, rng.permutation(len(pairs))[: rng.integers(1, len(pairs) + 1)])
        )
    return steps


def check(shape: Shape, options: Options, made: Program | None = None) -> None:
    """Compares every step with the interpreter of the module before any pass."""
    model, steps = llama(shape, options.dtype), conversation(shape.vocabulary)
    interpreter = Interpreter(Module.parse(model.text), model.weights, SLOTS, options.length)
    expected = [interpreter.step(*step) for step in steps]
    largest = max(np.abs(logits).max() for logits in expected)
    with (made or program(shape, options)).engine(model.weights) as engine:
        logits = [engine.step(*step) for step in steps]
    for number, (one, other) in enumerate(zip(logits, expected, strict=True)):
        difference = np.abs(one - other).max() / largest
        assert difference < TOLERANCE[options.dtype], f"step {number} differs by {difference:.1e}"


def same(one: Sequence[Array], other: Sequence[Array]) -> None:
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first.view(np.int32), second.view(np.int32))


def check_or_be_refused(shape: Shape, options: Options, made: Program) -> None:
    """`check`, or, on a processor that lacks instructions of the program, that the engine says so and runs nothing."""
    if set(made.manifest["target"]["features"]) <= set(find_target().features):
        check(shape, options, made)
    else:
        with pytest.raises(PackageError, match=r"made for a processor with .*, which this one lacks"):
            made.engine(llama(shape, options.dtype).weights)


# ------------------------------------------------------------------------------------------- against the interpreter

# A covering sample: every value of a column occurs, and every dtype with every target.
CASES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "plain": (Shape(), {}),
    "head-8": (Shape(head_dim=8, ratio=1, heads=3), {"page": 32, "split": 32}),
    "head-24": (Shape(head_dim=24, ratio=3), {"page": 16, "split": 16}),
    "head-40": (Shape(head_dim=40, ratio=4, heads=1), {"page": 64, "split": 64}),
    "head-64": (Shape(head_dim=64, ratio=7, heads=1, layers=1), {"page": 16, "split": 48}),
    "head-8-bf16": (Shape(head_dim=8, ratio=7, heads=1), {"dtype": "bfloat16", "page": 64, "split": 128}),
    "head-24-bf16": (Shape(head_dim=24, ratio=1), {"dtype": "bfloat16", "page": 32, "split": 64}),
    "head-40-bf16": (Shape(head_dim=40, ratio=3), {"dtype": "bfloat16"}),
    "odd-widths": (Shape(hidden=45, inner=51, vocabulary=77), {"workers": 3}),
    "odd-widths-bf16": (Shape(hidden=45, inner=51, vocabulary=77), {"dtype": "bfloat16", "workers": 1}),
    "narrower-than-a-register": (Shape(hidden=6, inner=5, vocabulary=3, head_dim=8, heads=1, ratio=1), {"workers": 3}),
    "bias-and-own-head": (Shape(bias=True, tied=False, rotary=1.25), {}),
    "bias-bf16": (Shape(bias=True, tied=False, vocabulary=161), {"dtype": "bfloat16", "workers": 3}),
    "v3": (Shape(hidden=45, head_dim=40, ratio=3, bias=True), {"target": "x86-64-v3", "page": 32, "split": 96}),
    "v3-bf16": (Shape(hidden=45, head_dim=24, ratio=2), {"target": "x86-64-v3", "dtype": "bfloat16", "workers": 3}),
    "v4": (Shape(hidden=56, head_dim=64, ratio=2), {"target": "x86-64-v4"}),
    "v4-bf16": (Shape(hidden=45, inner=33, vocabulary=33), {"target": "x86-64-v4", "dtype": "bfloat16", "page": 64,
                "split": 64}),
    "head-norms": (Shape(head_norm=True, bias=True), {"workers": 3}),
    "head-norms-24": (Shape(head_dim=24, ratio=3, head_norm=True), {"dtype": "bfloat16"}),
    "head-norms-12": (Shape(head_dim=12, heads=1, ratio=1, head_norm=True), {"workers": 7}),
    "head-norms-v3": (Shape(head_dim=40, head_norm=True), {"target": "x86-64-v3", "dtype": "bfloat16"}),
    "experts": (Shape(experts=5), {"workers": 3}),
    "experts-bf16": (Shape(hidden=45, inner=51, vocabulary=77, experts=7, chosen=3), {"dtype": "bfloat16"}),
    "experts-v3": (Shape(hidden=45, inner=33, experts=3, chosen=1), {"target": "x86-64-v3"}),
    "experts-v3-bf16": (Shape(hidden=40, inner=9, experts=4, chosen=4),
                        {"target": "x86-64-v3", "dtype": "bfloat16", "workers": 1}),
    "window": (Shape(window=20), {"workers": 3}),
    "window-1": (Shape(window=1, head_dim=8), {"dtype": "bfloat16", "split": 16}),
    "window-of-ranges": (Shape(window=64, heads=1), {"split": 16, "workers": 3}),
    "window-v3": (Shape(window=33, head_dim=40, ratio=3), {"target": "x86-64-v3", "dtype": "bfloat16"}),
    "softcap": (Shape(softcap=0.7), {}),
    "sinks": (Shape(sinks=True), {"workers": 3}),
    "window-softcap-sinks": (Shape(head_dim=24, ratio=3, window=17, softcap=1.5, sinks=True), {"dtype": "bfloat16"}),
    "window-softcap-sinks-v3": (Shape(window=40, softcap=0.3, sinks=True, head_norm=True), {"target": "x86-64-v3"}),
    "many-rows": (Shape(layers=1, ratio=1), {"max_tokens": 7, "max_rows": 5, "workers": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_interpreter(case: str) -> None:
    shape, values = CASES[case]
    chosen = options(**values)
    made = program(shape, chosen)
    if chosen.target != "auto":
        assert set(made.manifest["target"]["features"]) == set(find_target(chosen.target).features)
        assert made.manifest["target"]["lanes"] == {"x86-64-v3": 8, "x86-64-v4": 16}[chosen.target]
    check_or_be_refused(shape, chosen, made)


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize(("features", "lanes"), [("", 4), ("avx2,fma,avx512vl,avx512bf16", 8)])
def test_other_registers(features: str, lanes: int, dtype: str) -> None:
    shape, chosen = Shape(hidden=45, head_dim=12, ratio=3, inner=33, vocabulary=77), options(dtype=dtype)
    check_or_be_refused(shape, chosen, program_for(features, lanes, shape, chosen))


@pytest.mark.parametrize("case", ["v4", "v4-bf16"])
def test_a_processor_without_the_instructions_compiles_and_refuses(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half of `check_or_be_refused`, which a machine with AVX-512 would never see."""
    here = find_target()
    poorer = tuple(feature for feature in here.features if "avx512" not in feature)
    monkeypatch.setitem(globals(), "find_target", lambda *_: replace(here, features=poorer))
    flags = frozenset(flag for flag in cache.machine_flags() if "avx512" not in flag)
    monkeypatch.setattr(cache, "machine_flags", lambda: flags)
    shape, values = CASES[case]
    monkeypatch.setitem(globals(), "check", lambda *_: pytest.fail("ran"))
    check_or_be_refused(shape, options(**values), program(shape, options(**values)))


@pytest.mark.parametrize("seed", range(6))
def test_a_random_shape_agrees_with_the_interpreter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    page = int(rng.choice([16, 32, 64]))
    shape = Shape(
        hidden=int(rng.integers(2, 80)),
        heads=int(rng.integers(1, 4)),
        ratio=int(rng.integers(1, 8)),
        head_dim=4 * int(rng.integers(1, 12)),
        inner=int(rng.integers(1, 100)),
        vocabulary=int(rng.integers(2, 200)),
        layers=int(rng.integers(1, 3)),
        tied=bool(rng.integers(2)),
        bias=bool(rng.integers(2)),
        head_norm=bool(rng.integers(2)),
        experts=int(rng.integers(2)) * int(rng.integers(2, 12)),
        window=int(rng.choice([0, rng.integers(1, 100)])),
        softcap=float(rng.choice([0.0, rng.uniform(0.1, 2.0)])),
        sinks=bool(rng.integers(2)),
    )
    dtype = str(rng.choice(["float32", "bfloat16"]))
    if shape.experts:  # what bfloat16 rounds away may choose another expert
        dtype = "float32"
    check(
        shape,
        options(
            dtype=dtype, page=page, split=page * int(rng.integers(1, 3)), workers=int(rng.integers(1, 4))
        ),
    )


@pytest.mark.parametrize(
    ("fusion", "changed"),
    [
        *((fusion, {}) for fusion in FUSIONS),
        ("heads", {"head_norm": True}),
        ("rope", {"head_norm": True}),
        ("combine", {"window": 21, "sinks": True}),
        ("experts", {"experts": 5}),
        ("narrow", {"experts": 5}),
    ],
)
def test_a_fusion_changes_no_bit(fusion: str, changed: dict[str, Any]) -> None:
    shape = Shape(hidden=45, head_dim=24, inner=51, vocabulary=77, bias=True, **changed)
    check(shape, options(without=[fusion]))
    # The same arithmetic in another task, and every sum in the same order: the same bits.
    steps = conversation(shape.vocabulary)
    same(run(shape, options(without=[fusion]), steps), run(shape, options(), steps))


# ------------------------------------------------------------------------------------------------------- bit by bit

UNEVEN = Shape(hidden=45, head_dim=24, ratio=3, inner=51, vocabulary=77)
both_types = pytest.mark.parametrize("dtype", STORAGE)
both_types_and_more = pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (UNEVEN, "float32"),
        (UNEVEN, "bfloat16"),
        (replace(UNEVEN, head_norm=True), "bfloat16"),
        (replace(UNEVEN, window=13, softcap=0.7, sinks=True), "float32"),
        (replace(UNEVEN, window=18, softcap=0.7, sinks=True), "bfloat16"),
        (replace(UNEVEN, experts=7, chosen=3), "bfloat16"),
    ],
    ids=["float32", "bfloat16", "head-norms", "window", "window-bfloat16", "experts"],
)


def chunk(tokens: Array, positions: range, slot: int) -> Step:
    count = len(positions)
    return tokens[list(positions)], np.array(positions), np.full(count, slot), np.arange(count)


def pieces(total: int, size: int) -> Iterator[range]:
    return (range(begin, min(begin + size, total)) for begin in range(0, total, size))


@both_types_and_more
def test_a_prompt_in_one_chunk_or_token_by_token(shape: Shape, dtype: str) -> None:
    tokens = np.random.default_rng(1).integers(0, shape.vocabulary, 40)
    whole = run(shape, options(dtype=dtype), [chunk(tokens, range(40), 0)])
    for size in (1, 3, 12, 17):
        parts = run(shape, options(dtype=dtype), [chunk(tokens, part, 1) for part in pieces(40, size)])
        same(whole, [np.concatenate(parts)])


@both_types_and_more
def test_a_token_does_not_see_what_else_is_in_the_step(shape: Shape, dtype: str) -> None:
    steps = conversation(shape.vocabulary)
    steps = [(tokens, positions, slots, np.arange(len(tokens))) for tokens, positions, slots, _ in steps]
    together = run(shape, options(dtype=dtype), steps)
    for slot in range(SLOTS):
        own = [step[2] == slot for step in steps]
        alone = [
            (tokens[mine], positions[mine], slots[mine], np.arange(mine.sum()))
            for (tokens, positions, slots, _), mine in zip(steps, own, strict=True)
            if mine.any()
        ]
        wanted = [logits[mine] for logits, mine in zip(together, own, strict=True) if mine.any()]
        same(run(shape, options(dtype=dtype), alone), wanted)


@both_types_and_more
def test_the_number_of_workers_changes_no_bit(shape: Shape, dtype: str) -> None:
    steps = conversation(shape.vocabulary)
    one, two, three = (run(shape, options(dtype=dtype, workers=workers), steps) for workers in (1, 2, 3))
    same(one, two)
    same(one, three)


@both_types
def test_twenty_runs_are_one(dtype: str) -> None:
    steps = conversation(UNEVEN.vocabulary)
    first = run(UNEVEN, options(dtype=dtype, workers=3), steps)
    for _ in range(19):
        same(first, run(UNEVEN, options(dtype=dtype, workers=3), steps))


def test_a_page_that_held_nan_is_as_good_as_new() -> None:
    """As an overflow in another sequence leaves it."""
    model = llama(UNEVEN, "float32")
    tokens = np.array([1, 2, 3, 4])
    with program(replace(UNEVEN), options()).engine(model.weights) as engine:
        clean = engine.step(*chunk(tokens, range(4), 0))
        engine.reset(0)
        engine._device.memory["kv"].bytes[:] = 0xFF
        assert np.isnan(engine._device.memory["kv"].view(0, "float32", 1)).all()
        again = engine.step(*chunk(tokens, range(4), 0))
    same([clean], [again])
