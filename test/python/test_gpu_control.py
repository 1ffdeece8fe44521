# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""torch.cond on a GPU: kernels run on this processor (gpu_machine.py) against PyTorch, whichever side is taken."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import gpu_machine
import mk
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gpu_machine import GpuMachine
from mk.build import facts_of
from mk.build_function import import_sized
from mk.errors import DeviceStalled
from mk.ir import Module
from mk.report import tile_bytes
from mk.runtime.gpu import driver
from models import randomize
from test_control import PREDICATES, ROWS, Attends, Decides, Deep, EarlyExit, confidence, error, rows
from test_gpu_function import SIZES, on_gpu
from torch import Tensor, nn
from torch.export import Dim


def early_exit(**sizes: int) -> tuple[EarlyExit, list[Tensor], list[bool]]:
    """A classifier, calls of it, and which of them leave early: about every second."""
    module = randomize(EarlyExit(0.0, **{"width": 64, "inner": 96, **sizes}))
    width = module.head.in_features
    inputs = [rows(count, width, seed=seed) for seed, count in enumerate((1, 3, 7, 16, 9, 1, 2))]
    sure = sorted(confidence(module, x) for x in inputs)
    module.threshold = (sure[2] + sure[3]) / 2
    sides = [confidence(module, x) > module.threshold for x in inputs]
    assert sides.count(True) == 4 and sides[:4] != sorted(sides[:4])
    return module, inputs, sides


def weight_bytes(f: mk.Function, taken: bool) -> int:
    """Of all families that run if the one predicate is `taken`."""
    manifest = f.program.manifest
    units = {kind["name"]: kind["units"] for kind in manifest["kinds"]}
    passed = "not " if taken else "step"
    return sum(
        units[family["kind"]] * tile_bytes(manifest, family)
        for family in manifest["families"]
        if not any(condition.startswith(passed) for condition in family["conditions"])
    )


def test_an_early_exit_reads_no_weights_of_the_other_side(tmp_path: Path) -> None:
    module, inputs, sides = early_exit()
    with on_gpu(module, (inputs[0],), ROWS, tmp_path) as (f, machine):
        assert weight_bytes(f, True) < 0.4 * weight_bytes(f, False)
        f(inputs[0])  # packs the weights
        for x, side in zip(inputs * 2, sides * 2, strict=True):
            before = machine.filled()
            assert error(f(x), module, x) < 0.05
            assert machine.filled() - before == weight_bytes(f, side)
        # The control: the other side has other results.
        module.threshold = 2.0
        assert max(error(f(x), module, x) for x, side in zip(inputs, sides, strict=True) if side) > 0.2


def test_steps_of_one_launch_may_take_sides_of_their_own(tmp_path: Path) -> None:
    """What `mk.Function` never asks for: several steps, in any order of sides, decide alone, with the bits of calls."""
    module, inputs, sides = early_exit()
    with on_gpu(module, (inputs[0],), ROWS, tmp_path) as (f, machine):
        alone = {
            side: [f(x) for x, of in zip(inputs, sides, strict=True) if of == side] for side in (True, False)
        }
        host = f._host
        assert host is not None
        host._signature = type(host._signature)(**{**vars(host._signature), "together": False})
        fill = {
            side: next(x for x, of in zip(inputs, sides, strict=True) if of == side) for side in (True, False)
        }
        wholes = {side: fill[side][:1].repeat(16, 1) for side in fill}
        for order in (
            (True, False, True),
            (False, True, True, False),
            (False, False, True),
            (True, True, False),
        ):
            for seed in (0, 100):
                machine.seed, machine.cuda.launched[:] = seed, []
                found = f(torch.cat([wholes[side] for side in order]))
                assert sum("main" in name for name in machine.cuda.launched) == 1
                for i, side in enumerate(order):
                    assert torch.equal(found[16 * i : 16 * i + 16], f(wholes[side]))
        assert all(
            torch.equal(a, f(x))
            for side in (True, False)
            for a, x in zip(
                alone[side], [x for x, of in zip(inputs, sides, strict=True) if of == side], strict=True
            )
        )


def test_bits_do_not_depend_on_the_order_of_threads_workers_and_fusions(tmp_path: Path) -> None:
    module, inputs, _ = early_exit(layers=1)
    found = []
    for i, options in enumerate(
        ({}, {}, {"workers": 7}, {"trace": True}, {"without": ["generic", "concat"]})
    ):
        (tmp_path / str(i)).mkdir()
        with on_gpu(module, (inputs[0],), ROWS, tmp_path / str(i), **options) as (f, machine):
            machine.seed = 1000 * i
            found.append([f(x) for x in inputs])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


SOME = ("largest", "sum", "mean of largest", "with a parameter", "of a buffer")


@pytest.mark.parametrize("name", SOME)
def test_predicates(name: str, tmp_path: Path) -> None:
    """A maximum, a sum, a mean, and those of which a parameter or nothing else is made. Steps of 1 to 8 rows."""
    taken, other = (lambda m, x, h: m.a(F.gelu(h))), (lambda m, x, h: m.b(h) * x)
    module = randomize(Decides(PREDICATES[name], taken, other, 32))
    with torch.no_grad():
        module.first.bias.zero_()
        module.first.weight *= 0.6
    sides = set()
    with on_gpu(module, (rows(3, 32),), ROWS, tmp_path) as (f, _):
        for seed in range(8):
            x = rows(1 + seed, 32, seed=seed) * (0.05 + 0.3 * seed)
            assert error(f(x), module, x) < 0.02
            with torch.no_grad():
                sides.add(bool(PREDICATES[name](module, x, module.first(x))))
    assert len(sides) == 2 or name == "of a buffer"


def test_branches_of_branches(tmp_path: Path) -> None:
    """Predicates that nobody writes unless another holds, more of them than an instruction has conditions."""
    module = randomize(Deep(32))
    with on_gpu(module, (rows(2, 32),), ROWS, tmp_path) as (f, _):
        counts = [len(family["conditions"]) for family in f.program.manifest["families"]]
        assert set(counts) == {0, 1, 2, 3, 4}
        for level in (8, 0, 3, 1, 7, 2, 5, 4, 6):
            x = rows(2, 32, seed=level).clamp(max=-0.1)
            x[1, 3] = 0.3 * level - 0.15
            assert error(f(x), module, x) < 0.02


class Several(nn.Module):
    """Two predicates; results of either side are read further, multiplied, and chosen by the other predicate."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(64, 64) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.mean() > 0, x.max() > 2.5
        y, z = torch.cond(first, lambda x: (self.a(x).relu(), x * 2), lambda x: (self.b(x), -x), (x,))
        inner = torch.cond(second, lambda y: y + self.c(y), lambda y: y * 0.5, (y,))
        chosen = torch.cond(first, lambda x: x.amin() < -2.6, lambda x: x.amin() > -2.6, (x,))
        last: Tensor = torch.cond(chosen, lambda z: self.b(z), lambda z: z + 1, (z,))
        return inner, self.c(last) + y


def test_predicates_that_are_chosen_and_results_that_are_read_on(tmp_path: Path) -> None:
    module, sides = randomize(Several()), set()
    with on_gpu(module, (rows(2, 64),), ROWS, tmp_path) as (f, machine):
        for seed in range(16):
            x = rows(1 + seed % 5, 64, seed=seed) * (0.8 + 0.1 * (seed % 4))
            machine.seed = 17 * seed
            assert error(f(x), module, x) < 0.02
            first = bool(x.mean() > 0)
            sides.add((first, bool(x.max() > 2.5), bool(x.amin() < -2.6 if first else x.amin() > -2.6)))
    assert len(sides) >= 6


def test_attention_in_a_branch(tmp_path: Path) -> None:
    module, sides = randomize(Attends(64, 2)), set()
    dynamic = ({0: Dim("batch", max=4), 1: Dim("length", max=16)},)
    with on_gpu(module, (rows(2, 6, 64),), dynamic, tmp_path, max_sequences=4) as (f, machine):
        for seed, shape in enumerate(((2, 6), (1, 3), (4, 4), (3, 5), (1, 16), (4, 3), (1, 1), (2, 6))):
            x = rows(*shape, 64, seed=seed)
            x = x * (3 if seed % 2 else 2.0) / x.max()
            sides.add(bool(x.max() > 2.2))
            machine.seed = 5 * seed
            assert error(f(x), module, x) < 0.02
    assert len(sides) == 2


def test_a_call_is_one_step(tmp_path: Path) -> None:
    module, inputs, _ = early_exit(layers=1)
    with on_gpu(module, (inputs[0],), ROWS, tmp_path) as (f, _):
        with pytest.raises(
            mk.InputError, match=r"17 rows; the module decides for all rows of a call at once, and the"
        ):
            f(rows(17, 64))
        assert error(f(inputs[3]), module, inputs[3]) < 0.02
    with pytest.raises(
        mk.CompileError, match=r"EarlyExit: torch\.cond decides for all rows of a call at once.* 20; a"
    ):
        mk.compile_module(module, inputs=(rows(20, 64),), target="sm_90a", use_cache=False)


def test_a_package_is_assembled_and_says_what_it_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, inputs, _ = early_exit()
    f = mk.compile_module(module, inputs=(inputs[0],), dynamic=ROWS, target="sm_90a", use_cache=False)
    f.save(tmp_path / "exit.mkp")
    program = mk.load(tmp_path / "exit.mkp")
    assert [(kernel["name"], kernel["spills"]) for kernel in program.manifest["gpu"]["kernels"]] == [
        ("mk_main_8", 0),
        ("mk_main", 0),
    ]
    mk.explain.explain(program)
    assert re.search(r"conditions +\d+ of \d+ families, with \d\.\d MiB of weights", capsys.readouterr().out)


def changed(monkeypatch: pytest.MonkeyPatch, pattern: str, to: str = "") -> None:
    """Kernels of machines that are made from now on lack something."""
    right = gpu_machine.for_this_processor

    def wrong(text: str) -> str:
        text, other = right(text), text
        text = re.sub(pattern, to, text, flags=re.MULTILINE)
        assert text != other
        return text

    monkeypatch.setattr(gpu_machine, "for_this_processor", wrong)


def test_who_is_passed_over_must_take_back_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of `.passed`: without it words of a call before the last are taken for those of this one."""
    module, inputs, sides = early_exit()
    changed(monkeypatch, r"^ *llvm.call @\w+(\.\w+)*\.passed\(.*\n")
    with on_gpu(module, (inputs[0],), ROWS, tmp_path) as (f, _):
        on = [x for x, side in zip(inputs, sides, strict=True) if not side]
        exit_ = inputs[sides.index(True)]
        worst = 0.0
        for x in (on[0], exit_, on[1], exit_, on[2], exit_, on[0]):
            worst = max(worst, error(f(x), module, x))
        assert worst > 0.05


def test_a_predicate_that_never_comes_is_a_stall(tmp_path: Path) -> None:
    """Loader and consumers look at the clock while they wait for it."""
    module, inputs, _ = early_exit(layers=1)
    with on_gpu(module, (inputs[0],), ROWS, tmp_path) as (f, _):
        manifest, table = f.program.manifest, f.program.arrays["table"].copy()
        predicate = next(c.removeprefix("not ") for one in manifest["families"] for c in one["conditions"])
        writer = next(i for i, one in enumerate(manifest["families"]) if predicate in one["results"])
        words = {field["name"]: field["index"] for field in manifest["abi"]["instruction"]}
        mine = (table[..., words["family"]] == writer) & (table[..., words["kind"]] >= 0)
        assert mine.sum() == 1
        table[mine, words["kind"]] = -2
        program = dataclasses.replace(f.program, arrays={**f.program.arrays, "table": table})
        stalls = pytest.raises(DeviceStalled, match="words of its input that nobody has written")
        with mk.Function(program, stall_seconds=0.2) as broken, stalls:
            broken(inputs[0])


EXPERTS = """
!x = tensor<?x64xf32>
!p = tensor<?x1xf32>
!i = tensor<?xi32>
!e = tensor<?x5xf32>
!inner = tensor<?x192xf32>
func.func @step(%tokens: !i, %positions: !i, %slots: !i, %rows: !i,
                %x: !x {mk.input, mk.name = "input"}, %last: !i {mk.input, mk.name = "last_positions"}) -> !x {
  %one = mk.slice %x {offset = 0 : i64} : (!x) -> !p
  %p = mk.across_rows %one {how = "max"} : (!p) -> !p
  %decided = mk.relu %p : (!p) -> !p
  %h = mk.gelu %x : (!x) -> !x
  %r = mk.weight @router : tensor<5x64xbf16>
  %logits = mk.linear %h, [%r] : (!x, tensor<5x64xbf16>) -> !e
  %route = mk.topk_route %logits {chosen = 2 : i64, normalize} : (!e) -> !e
  %up = mk.weight @up : tensor<5x96x64xbf16>
  %inner = mk.moe_linear %h, %route, %up {chosen = 2 : i64} : (!x, !e, tensor<5x96x64xbf16>) -> !inner
  %down = mk.weight @down : tensor<5x64x96xbf16>
  %sum = mk.moe_combine %inner, %route, %down {chosen = 2 : i64} : (!inner, !e, tensor<5x64x96xbf16>) -> !x
  %more = mk.add %sum, %h : (!x, !x) -> !x
  %w = mk.weight @plain : tensor<64x64xbf16>
  %less = mk.linear %h, [%w] : (!x, tensor<64x64xbf16>) -> !x
  %y = mk.choose %decided, %more, %less : (!p, !x, !x) -> !x
  return %y : !x
}
"""


def test_experts_in_a_branch(tmp_path: Path) -> None:
    """Their route comes from the same side; the interpreter says what is right. Another module lends its calls."""
    module = nn.Linear(64, 64, bias=False)
    imported, made = import_sized(module, (rows(2, 64),), ({0: Dim("rows")},), SIZES, None)
    assert imported.signature is not None
    machine = GpuMachine(EXPERTS, made, tmp_path)
    facts = facts_of(
        dataclasses.replace(imported, signature=dataclasses.replace(imported.signature, together=16))
    )
    program = dataclasses.replace(machine.program, facts=facts)
    random = np.random.default_rng(0)
    shapes = {"router": (5, 64), "up": (5, 96, 64), "down": (5, 64, 96), "plain": (64, 64)}
    weights = {
        name: random.normal(0, shape[-1] ** -0.5, shape).astype(np.float32) for name, shape in shapes.items()
    }
    exact = mk.interpret.Interpreter(Module.parse(EXPERTS), weights, 1, 64)
    conditions = [len(one["conditions"]) for one in program.manifest["families"] if "moe" in one["name"]]
    assert len(conditions) == 2 and min(conditions) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "bindings", lambda: machine.cuda)
        with mk.Function(program, weights) as f:
            for seed, (count, side) in enumerate(
                ((3, -1), (5, 1), (1, 1), (16, -1), (9, 1), (2, -1), (16, 1))
            ):
                x = rows(count, 64, seed=seed).numpy()
                x[:, 0] = side * (1 + np.abs(x[:, 0]))
                arrays = {"input": x, "last_positions": np.full(count, count - 1, np.int32)}
                [wanted] = exact.call(np.zeros(count), np.arange(count), np.zeros(count), [], inputs=arrays)
                machine.seed = 31 * seed
                before = machine.filled()
                found = f(x)
                share = np.sort(np.abs(found - wanted).max(1) / np.abs(wanted).max())
                assert (
                    share[: -(count // 8) or None].max() < 0.03
                )  # rounding may choose another expert, in few rows
                if side < 0 and seed:  # no expert: of the other side the one product
                    assert machine.filled() - before == 64 * 64 * 2
    assert not machine.faults
