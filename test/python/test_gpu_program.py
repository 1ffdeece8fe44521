# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs for a GPU run on this processor (gpu_machine.py): table, ring, kernel and packer against the interpreter."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gpu_machine
import numpy as np
import pytest
from gpu_machine import GpuMachine
from llama_text import Llama, Shape
from mk.compiler.options import Options
from mk.errors import DeviceStalled, InputError, MkError
from mk.interpret import Interpreter
from mk.ir import Module
from mk.runtime.engine import Engine
from mk.runtime.gpu import convert, driver
from test_codegen import Step, conversation, same

SLOTS, LENGTH = 4, 96
TINY = Shape(hidden=64, heads=2, ratio=2, head_dim=32, inner=96, vocabulary=102)
SHAPES = {
    "tiny": TINY,
    # 15 query heads of one KV head in four groups, heads of 64, an own head, and biases.
    "grouped": Shape(160, heads=1, ratio=5, head_dim=64, inner=224, vocabulary=130, tied=False, bias=True),
    # Long rows of 2112 columns come in two chunks of 17 blocks, the last of which is padding.
    "long rows": Shape(2112, heads=1, ratio=1, head_dim=32, inner=2112, vocabulary=40, layers=1),
    # A warp has more lanes than half a head of 32 has columns, and fewer than one of 128.
    "head norms": dataclasses.replace(TINY, layers=1, head_norm=True),
    "wide head norms": Shape(
        64, heads=1, ratio=2, head_dim=128, inner=64, vocabulary=40, layers=1, head_norm=True
    ),
    # Three warps make a query head, a key and a value each, and a fourth head.
    "grouped head norms": Shape(
        64, heads=2, ratio=3, head_dim=64, inner=64, vocabulary=40, layers=2, head_norm=True
    ),
    "window": dataclasses.replace(TINY, window=20),
    "short window": dataclasses.replace(TINY, window=5, softcap=0.7, sinks=True),
    "softcap": dataclasses.replace(TINY, layers=1, softcap=0.7),
    "sinks": dataclasses.replace(TINY, layers=1, sinks=True),
    "window, softcap and sinks": dataclasses.replace(TINY, window=35, softcap=0.7, sinks=True),
    # A route of two words a lane, the second of which is not full; three ranks of experts; units by fours.
    "experts": dataclasses.replace(TINY, experts=5),
    "many experts": Shape(
        128, heads=1, ratio=2, head_dim=32, inner=64, vocabulary=40, layers=1, experts=37, chosen=6
    ),
    # Their rows come in two chunks: those that go in, and those between their products.
    "long rows of experts": Shape(
        2112, heads=1, ratio=1, head_dim=32, inner=32, vocabulary=40, layers=1, experts=3, chosen=2
    ),
    "long rows within experts": Shape(
        64, heads=1, ratio=1, head_dim=32, inner=2112, vocabulary=40, layers=1, experts=3, chosen=2
    ),
    "wide heads": Shape(64, heads=1, ratio=2, head_dim=128, inner=64, vocabulary=40, layers=1),
}
EXPERTS = [name for name, shape in SHAPES.items() if shape.experts]
Array = np.ndarray[Any, Any]
Make = Callable[..., GpuMachine]


@functools.cache
def llama(shape: Shape) -> Llama:
    return Llama(shape, "bf16")


def options(**values: Any) -> Options:
    sizes = {"max_sequences": SLOTS, "max_length": LENGTH, "page": 16, "split": 32, "workers": 3}
    return Options(**{"target": "sm_90a", **sizes, **values})


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    @functools.cache
    def made(shape: Shape, **values: Any) -> GpuMachine:
        return GpuMachine(llama(shape).text, options(**values), tmp_path_factory.mktemp("machine"))

    return made


@contextmanager
def running(machine: GpuMachine, shape: Shape, **arguments: Any) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "bindings", lambda: machine.cuda)
        with machine.program.engine(llama(shape).weights, **arguments) as engine:
            yield engine
    if machine.faults:
        raise RuntimeError(machine.faults.pop())


def logits(machine: GpuMachine, shape: Shape, steps: list[Step], order: int = 0) -> list[Any]:
    machine.seed = order
    with running(machine, shape) as engine:
        return [engine.step(*step) for step in steps]


def rounded(w: Array) -> Array:
    bits = convert.convert(w.view(np.uint32), "float32", "bfloat16")
    return convert.convert(bits, "bfloat16", "float32").view(np.float32)


def reference(shape: Shape, steps: list[Step], storage: str, **changed: Array) -> Array:
    """The interpreter's logits, rounding as `storage` says; the weights are those of bfloat16 in any case."""
    weights = {name: rounded(w) if w.ndim > 1 else w for name, w in llama(shape).weights.items()} | changed
    interpreter = Interpreter(Module.parse(Llama(shape, storage).text), weights, SLOTS, LENGTH)
    return np.concatenate([interpreter.step(*step) for step in steps])


def errors(found: Array, exact: Array) -> Array:
    """Of each row, relative to its norm."""
    return np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)


@pytest.mark.parametrize("name", SHAPES)
def test_steps_are_as_good_as_those_of_the_interpreter(make: Make, name: str) -> None:
    """The arithmetic is another: a row is rounded before its norm has scaled it. So both are held against float32."""
    shape = SHAPES[name]
    steps = conversation(shape.vocabulary)[: 1 if name == "long rows" else 5]
    exact = reference(shape, steps, "f32")
    found = errors(np.concatenate(logits(make(shape), shape, steps)), exact)
    interpreted = errors(reference(shape, steps, "bf16"), exact)
    if shape.experts:  # what is rounded away may choose another expert, in few rows
        found, interpreted = (np.sort(of)[: -len(of) // 8] for of in (found, interpreted))
    assert found.mean() < 1.2 * interpreted.mean() and found.max() < 2 * interpreted.max()


@pytest.mark.parametrize("name", ["tiny", "long rows", "wide heads", "many experts"])
def test_a_target_without_bulk_copies_gives_the_same_bits(make: Make, name: str) -> None:
    """Slots are filled by the lanes of the loader, 16 bytes at a time."""
    shape = SHAPES[name]
    steps = conversation(shape.vocabulary)[: 1 if name == "long rows" else 3]
    old = make(shape, target="sm_80")
    assert old.program.manifest["gpu"]["threads"] == 288
    same(logits(make(shape), shape, steps), logits(old, shape, steps))


@pytest.mark.parametrize(
    ("name", "changed"),
    [("window", {"window": 21}), ("softcap", {"softcap": 0.0}), ("sinks", {"sinks": False})],
)
def test_what_attention_does_with_scores_counts(make: Make, name: str, changed: dict[str, Any]) -> None:
    """The comparison above fails for a model with another window, without a cap, without sinks."""
    shape = SHAPES[name]
    steps = conversation(shape.vocabulary)[:5]
    weights = {name: rounded(w) if w.ndim > 1 else w for name, w in llama(shape).weights.items()}
    other = Interpreter(
        Module.parse(Llama(dataclasses.replace(shape, **changed), "f32").text), weights, SLOTS, LENGTH
    )
    found = errors(
        np.concatenate(logits(make(shape), shape, steps)),
        np.concatenate([other.step(*step) for step in steps]),
    )
    interpreted = errors(reference(shape, steps, "bf16"), reference(shape, steps, "f32"))
    assert found.mean() > 1.2 * interpreted.mean()


@pytest.mark.parametrize("name", ["head norms", "wide head norms"])
@pytest.mark.parametrize("heads", ["q_norm", "k_norm"])
def test_gains_of_heads_count(make: Make, name: str, heads: str) -> None:
    """The comparison above fails for a model whose queries or keys have another gain in one column of a head."""
    shape = SHAPES[name]
    steps = conversation(shape.vocabulary)[:5]
    gain = llama(shape).weights[f"layers.0.{heads}"].copy()
    gain[5] += 2
    other = reference(shape, steps, "f32", **{f"layers.0.{heads}": gain})
    found = errors(np.concatenate(logits(make(shape), shape, steps)), other)
    interpreted = errors(reference(shape, steps, "bf16"), reference(shape, steps, "f32"))
    assert found.mean() > 1.2 * interpreted.mean()


@pytest.mark.parametrize("name", ["wide head norms", "grouped head norms"])
def test_heads_are_the_same_bits_wherever_they_are_made(make: Make, name: str) -> None:
    """A key of this step is made by attention, one of an earlier step by the task that stored it; or both by that."""
    shape = SHAPES[name]
    steps = conversation(shape.vocabulary)[:5]
    apart = make(shape, without=("attend",))
    heads = [
        {
            kind["name"]: kind["units"]
            for kind in machine.program.manifest["kinds"]
            if "head_norm" in kind["name"]
        }
        for machine in (make(shape), apart)
    ]
    assert sum(heads[0].values()) < sum(heads[1].values())
    same(logits(make(shape), shape, steps), logits(apart, shape, steps))


def test_experts_are_read_once_if_a_token_chose_them(make: Make) -> None:
    """One token reads what `step_bytes` says; the same token in more slots reads no more, other tokens read others."""
    shape = SHAPES["many experts"]
    machine = make(shape)
    with running(machine, shape) as engine:

        def read(*tokens: int) -> int:
            before = machine.filled()
            for slot in range(len(tokens)):
                engine.reset(slot)
            engine.step(tokens, [0] * len(tokens), range(len(tokens)))
            return machine.filled() - before

        one = read(7)
        assert one == engine.step_bytes
        assert read(7, 7, 7) == one
        family = next(f for f in machine.program.manifest["families"] if "moe_combine" in f["name"])
        units = {kind["name"]: kind["units"] for kind in machine.program.manifest["kinds"]}[family["kind"]]
        down = units * 512  # rows of 64 columns are one block
        expert = down + 32 * 2 * 512  # 128 columns of gate and up: two blocks
        more = read(7, 11, 23, 31) - one
        assert more % expert == 0 and 0 < more <= 3 * shape.chosen * expert


def test_who_chooses_nobody_has_no_experts(make: Make) -> None:
    """Sums that overflow to what is no number, of some tokens or of all in a step: no wait for tiles or for words."""
    shape = SHAPES["experts"]
    embed = llama(shape).weights["embed"].copy()
    embed[7] = 3e38
    steps: list[Step] = [
        (np.array(tokens), np.zeros(len(tokens), int), np.arange(len(tokens)), np.arange(len(tokens)))
        for tokens in ([7], [3, 7, 5], [7, 7], [3], [5])
    ]
    machine = make(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(llama(shape).weights, "embed", embed)
        found = logits(machine, shape, steps)
    assert all(np.isnan(row).all() for row in (*found[0], found[1][1], *found[2]))
    assert np.isfinite(found[3][:, 8:]).all()
    same([found[1][:1], found[1][2:]], found[3:])


@pytest.mark.parametrize("part", ["router", "gate_up", "down"])
def test_who_is_chosen_counts(make: Make, part: str) -> None:
    """The comparison above fails for a model in which two experts have changed places in one part alone."""
    shape = SHAPES["experts"]
    steps = conversation(shape.vocabulary)[:5]
    swapped = llama(shape).weights[f"layers.1.{part}"][[1, 0, 2, 3, 4]]
    other = reference(shape, steps, "f32", **{f"layers.1.{part}": rounded(swapped)})
    found = errors(np.concatenate(logits(make(shape), shape, steps)), other)
    interpreted = errors(reference(shape, steps, "bf16"), reference(shape, steps, "f32"))
    found, interpreted = (np.sort(of)[: -len(of) // 8] for of in (found, interpreted))
    assert found.mean() > 1.2 * interpreted.mean()


@pytest.mark.parametrize("name", ["tiny", "long rows", "head norms", "short window", *EXPERTS])
def test_bits_do_not_depend_on_the_order_of_threads_or_the_workers(make: Make, name: str) -> None:
    shape = SHAPES[name]
    steps = [step for step in conversation(shape.vocabulary) if len(step[0]) <= 16][:2]
    steps = [(tokens, np.arange(len(tokens)), np.zeros_like(slots), rows) for tokens, _, slots, rows in steps]
    first = logits(make(shape), shape, steps)
    same(first, logits(make(shape), shape, steps, order=1000))
    same(first, logits(make(shape, workers=7), shape, steps))


@pytest.mark.parametrize("name", ["tiny", "long rows", "head norms", "short window", *EXPERTS])
def test_bits_do_not_depend_on_the_batch(make: Make, name: str) -> None:
    """Tokens alone, and among 8 and 12 of their step: one group of rows, and two."""
    shape = SHAPES[name]
    tokens = np.random.default_rng(3).integers(0, shape.vocabulary, 12)

    def run(*chunks: int) -> list[Array]:
        found, begin = [], 0
        with running(make(shape), shape) as engine:
            for count in chunks:
                positions = np.arange(begin, begin + count)
                found += list(engine.step(tokens[positions], positions, np.zeros(count, int)))
                begin += count
        return found

    together = run(12)
    same(together[:8], run(8))
    same(together[:4], run(1, 1, 2))


def test_a_sequence_of_more_pages_than_a_cta_keeps(make: Make) -> None:
    """Of a slot's pages the first 11 are in shared memory, and a thread joins up to 8 ranges of attention, lanes of a
    warp more: positions before and behind these borders."""
    length, count = 304, 288
    tokens = np.random.default_rng(5).integers(0, TINY.vocabulary, count)
    machine = make(TINY, max_length=length, max_sequences=1)
    weights = {name: rounded(w) if w.ndim > 1 else w for name, w in llama(TINY).weights.items()}
    exact = Interpreter(Module.parse(Llama(TINY, "f32").text), weights, 1, length)
    with running(machine, TINY) as engine:
        for begin in range(0, count, 16):
            places = np.arange(begin, begin + 16)
            found = engine.step(tokens[places], places, np.zeros(16, int), rows=[15])
            wanted = exact.step(tokens[places], places, np.zeros(16, int), np.array([15]))
            assert errors(found, wanted).max() < 0.05


def test_blocks_before_a_window_are_passed(make: Make) -> None:
    """Ranges of two blocks and decode far beyond the window: it begins in the first block of one, then in the second.
    The same comparison with a model whose window is shorter by a position fails."""
    length, count = 384, 368
    shape = dataclasses.replace(TINY, layers=1, window=100)
    tokens = np.random.default_rng(5).integers(0, shape.vocabulary, count)
    machine = make(shape, max_length=length, max_sequences=1, split=256)
    weights = {name: rounded(w) if w.ndim > 1 else w for name, w in llama(shape).weights.items()}
    exact, other = (
        Interpreter(Module.parse(Llama(wanted, "f32").text), weights, 1, length)
        for wanted in (shape, dataclasses.replace(shape, window=99))
    )
    differences = []
    with running(machine, shape) as engine:
        for begin in [*range(0, 336, 16), *range(336, count, 4)]:
            places = np.arange(begin, begin + (16 if begin < 336 else 4))
            step = (tokens[places], places, np.zeros(len(places), int), np.array([len(places) - 1]))
            found, wanted = engine.step(*step), exact.step(*step)
            assert errors(found, wanted).max() < 0.05
            differences.append(errors(other.step(*step), wanted).max())
    assert max(differences) > 0.05


def test_generation_in_one_launch_is_step_by_step(make: Make) -> None:
    machine, prompt = make(TINY), [5, 7, 9]
    with running(machine, TINY) as engine:
        tokens = list(prompt)
        for _ in range(12):
            rows = engine.step(tokens[-1:] if len(tokens) > 3 else tokens, range(engine.length(1), len(tokens)),
                               [1] * (len(tokens) - engine.length(1)))  # fmt: skip
            tokens.append(int(rows[-1].argmax()))
        machine.cuda.launched.clear()
        assert list(engine.generate(prompt, max_new_tokens=12)) == tokens[3:]
        assert machine.cuda.launched == ["mk_main_8"]
        drawn = [list(engine.generate(prompt, max_new_tokens=6, temperature=1.0, seed=s)) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_times_are_those_of_every_instruction(make: Make) -> None:
    traced, plain = make(TINY, trace=True), make(TINY)
    with running(traced, TINY, trace_steps=2) as engine:
        engine.step([5, 7, 9], [0, 1, 2], [0, 0, 0])
        one = engine.times()
        list(engine.generate([5, 7], max_new_tokens=4, slot=1))
        times = engine.times()
    assert one.stamps.shape[0] == 1 and (one.first, *one.tokens, *one.rows, *one.context) == (0, 3, 3, 3)
    # The last two of five steps, each with the token that the step before has drawn.
    assert (times.first, *times.tokens, *times.rows, *times.context) == (3, 1, 1, 1, 1, 4, 5)
    exists = np.arange(times.stamps.shape[2]) < traced.program.arrays["counts"][:, None]
    assert (times.stamps[:, ~exists] == 0).all()
    stamps, ring = times.stamps[:, exists, :4], times.stamps[:, exists, 4]
    assert (stamps > 0).all() and (np.diff(stamps, axis=2) >= 0).all()
    for worker, count in enumerate(
        traced.program.arrays["counts"].tolist()
    ):  # one after the other, step after step
        mine = times.stamps[:, worker, :count, :4].reshape(-1)
        assert (np.diff(mine) >= 0).all() and len(np.unique(mine)) > 8
    # Only products and attention wait for the ring, some do, and none for longer than it takes.
    kinds = [kind["kind_class"] for kind in traced.program.manifest["kinds"]]
    tiles = np.isin(
        traced.program.arrays["table"][exists][:, 0],
        [i for i, c in enumerate(kinds) if c in ("tiles", "attend")],
    )
    assert (ring[:, ~tiles] == 0).all() and ring.any()
    assert (ring <= stamps[..., 2] - stamps[..., 1]).all()
    with running(plain, TINY) as engine, pytest.raises(InputError, match="trace=True"):
        engine.times()


def test_noting_times_changes_no_bits(make: Make) -> None:
    tokens = np.arange(12)
    steps = [(tokens, tokens, tokens * 0, tokens), (tokens[:1], tokens[:1] + 12, tokens[:1], tokens[:1])]
    same(logits(make(TINY), TINY, steps), logits(make(TINY, trace=True), TINY, steps))


def broken(machine: GpuMachine, change: Callable[[Array], None]) -> GpuMachine:
    """The same machine with another table."""
    arrays = {**machine.program.arrays, "table": machine.program.arrays["table"].copy()}
    change(arrays["table"])
    other = GpuMachine.__new__(GpuMachine)
    other.__dict__ |= machine.__dict__ | {"program": dataclasses.replace(machine.program, arrays=arrays)}
    return other


def test_a_signal_that_never_comes_is_a_stall(make: Make) -> None:
    machine = make(TINY)
    table = machine.program.arrays["table"]
    worker, number = np.argwhere((table[:, :, 14] >= 0) & (table[:, :, 31] % 2 == 0))[0]
    event = table[worker, number, 14]

    def change(table: Array) -> None:
        table[worker, number, 14] = -1

    with (
        running(broken(machine, change), TINY, stall_seconds=0.1) as engine,
        pytest.raises(DeviceStalled, match=f"waiting for event {event} "),
    ):
        engine.step([1], [0], [0])


def test_words_that_never_come_are_a_stall(make: Make) -> None:
    """Hints are no proof: a task that says it is done without having written is found by what it did not write."""
    machine = make(TINY)
    kinds = machine.program.manifest["kinds"]
    glu = next(i for i, kind in enumerate(kinds) if "glu" in kind["name"])

    def change(table: Array) -> None:
        worker, number = np.argwhere(table[:, :, 0] == glu)[1]
        table[worker, number, 0] = -2

    with (
        running(broken(machine, change), TINY, stall_seconds=0.1) as engine,
        pytest.raises(DeviceStalled, match="words of its input that nobody has written"),
    ):
        engine.step([1], [0], [0])


# A ring whose loader or consumers do not do their part: what is left out, and what the stuck wait for.
STUCK = {
    "the lanes' copies never arrive": (
        "gpu_arrive_behind",
        "the ring: copies that its loader has asked for, slot 0",
    ),
    "bytes never land": ("gpu_fill", "the ring: copies that its loader has asked for, slot 0"),
    "slots are never given back": ("gpu_release", "the ring: a slot that its consumers give back"),
    "a step is never told of": (
        "gpu_tell",
        "the ring: (its loader to have read a step|its consumers to begin a step)",
    ),
    "nothing is announced": ("gpu_announce", "the ring: copies that its loader has asked for"),
}


@pytest.mark.parametrize("fault", STUCK)
def test_a_ring_that_stands_still_is_a_stall(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every wait within a CTA ends, that of the loader too, or the machine would find that no thread can go on."""
    call, waiting = STUCK[fault]
    right = gpu_machine.for_this_processor

    def without(text: str) -> str:
        return re.sub(rf" *llvm.call @{call}\(.*\n", "", right(text))

    monkeypatch.setattr(gpu_machine, "for_this_processor", without)
    target = "sm_80" if call == "gpu_arrive_behind" else "sm_90a"
    machine = GpuMachine(llama(TINY).text, options(target=target), tmp_path)
    monkeypatch.undo()
    said = rf"worker.* in \S+ \(.*\): waiting for {waiting}"
    with running(machine, TINY, stall_seconds=0.1) as engine, pytest.raises(DeviceStalled, match=said):
        engine.step([1, 2], [0, 1], [0, 0])
        engine.step([1, 2], [2, 3], [0, 0])


# What the machine must notice: a kernel without these lines.
FAULTS = {
    "no release": r" *llvm.call @gpu_(release|mbarrier_arrive)\(.*\n",
    "no barrier": r" *llvm.call @gpu_barrier\(.*\n",
    "no wait for a slot": r"(%\w+ = )llvm.call @gpu_await_(or|told)\(.*\n",
}


GONE = {"no wait for a slot": r"\1llvm.mlir.constant(1 : i32) : i32\n"}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_notices(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = gpu_machine.for_this_processor
    monkeypatch.setattr(
        gpu_machine,
        "for_this_processor",
        lambda text: re.sub(FAULTS[fault], GONE.get(fault, ""), right(text)),
    )
    machine, steps = GpuMachine(llama(TINY).text, options(), tmp_path), conversation(TINY.vocabulary)[:3]
    monkeypatch.undo()
    exact = reference(TINY, steps, "f32")
    try:
        wrong = not errors(np.concatenate(logits(machine, TINY, steps)), exact).max() < 0.1
    except (MkError, RuntimeError):
        wrong = True
    assert wrong
