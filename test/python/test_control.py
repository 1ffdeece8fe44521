# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""torch.cond in modules of the user's own: both sides are planned, one runs, and it is PyTorch's."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from typing import Any
from unittest import mock

import mk
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from descriptions import ROOT, blocks
from mk.compiler.table import table_text
from mk.errors import ImportModelError
from mk.explain import explain
from models import randomize, tiny_llama
from torch import Tensor, nn
from torch.export import Dim

ROWS = {"x": {0: Dim("rows")}}


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def compiled(module: nn.Module, x: Any, dynamic: Any = None, **options: Any) -> mk.Function:
    inputs = x if isinstance(x, tuple) else (x,)
    f = mk.compile_module(
        module, inputs=inputs, dynamic=dynamic, use_cache=False, **{"workers": 2, **options}
    )
    assert isinstance(f, mk.Function)
    return f


def eager(module: nn.Module, *inputs: Tensor) -> Any:
    """The module in PyTorch, with the branch that is taken called at once: torch would compile both each time."""

    def cond(predicate: Tensor, taken: Any, other: Any, operands: Any = ()) -> Any:
        return taken(*operands) if predicate else other(*operands)

    with torch.no_grad(), mock.patch.object(torch, "cond", cond):
        return module(*inputs)


def error(found: Any, module: nn.Module, *inputs: Tensor) -> float:
    """The largest of all results, of the largest number."""
    wanted = eager(module, *inputs)
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    worst = 0.0
    for a, b in pairs:
        assert a.shape == b.shape and a.dtype == b.dtype
        worst = max(worst, float((a - b).abs().max() / b.abs().max()))
    return worst


class Decides(nn.Module):
    """A predicate and two branches, each a function of x and the layers."""

    def __init__(
        self,
        predicate: Callable[..., Any],
        taken: Callable[..., Any],
        other: Callable[..., Any],
        width: int = 16,
    ) -> None:
        super().__init__()
        self.predicate, self.taken, self.other = predicate, taken, other
        self.first, self.a, self.b = (nn.Linear(width, width) for _ in range(3))
        self.register_buffer("flag", torch.tensor(True))

    def forward(self, x: Tensor) -> Any:
        h = self.first(x)
        return torch.cond(
            self.predicate(self, x, h),
            lambda x, h: self.taken(self, x, h),
            lambda x, h: self.other(self, x, h),
            (x, h),
        )


class EarlyExit(nn.Module):
    """A classifier that passes over its later layers if its head is sure of every row of the call without them."""

    def __init__(self, threshold: float, layers: int = 3, width: int = 24, inner: int = 48) -> None:
        super().__init__()
        self.threshold = threshold
        self.first = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.later = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
            for _ in range(layers)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        early = self.head(h).softmax(-1)
        result: Tensor = torch.cond(early.amax(-1).min() > self.threshold, self.stop, self.go_on, (h, early))
        return result

    def stop(self, h: Tensor, early: Tensor) -> Tensor:
        return early.clone()

    def go_on(self, h: Tensor, early: Tensor) -> Tensor:
        for layer in self.later:
            h = h + layer(h)
        result: Tensor = self.head(h).softmax(-1)
        return result


def confidence(module: EarlyExit, x: Tensor) -> float:
    with torch.no_grad():
        return float(module.head(module.first(x)).softmax(-1).amax(-1).min())


def test_an_early_exit_is_pytorchs_on_both_sides() -> None:
    module = randomize(EarlyExit(0.0))
    inputs = [rows(count, 24, seed=seed) for seed, count in enumerate((1, 3, 7, 2, 1))]
    sure = sorted(confidence(module, x) for x in inputs)
    module.threshold = (sure[1] + sure[2]) / 2
    with compiled(module, inputs[1], ROWS) as f:
        for x in inputs * 2:
            assert error(f(x), module, x) < 1e-5
        with torch.no_grad():
            wanted = module(inputs[0])  # by torch.cond itself
        assert torch.allclose(f(inputs[0]), wanted, atol=1e-5)
        # The control: the other side has other results.
        module.threshold = 1.0 if confidence(module, inputs[0]) > module.threshold else 0.0
        assert error(f(inputs[0]), module, inputs[0]) > 1e-3


def test_one_row_of_the_batch_decides_for_all() -> None:
    module = randomize(EarlyExit(0.0))
    x = rows(40, 24)
    with torch.no_grad():
        sure = module.head(module.first(x)).softmax(-1).amax(-1)
    best, worst = x[sure.argmax()][None], x[sure.argmin()][None]
    module.threshold = float(sure.max() + sure.min()) / 2
    with compiled(module, best, ROWS) as f:
        alone = f(best)
        both = f(torch.cat([best, worst]))
        assert error(alone, module, best) < 1e-5
        assert error(both, module, torch.cat([best, worst])) < 1e-5
        assert not torch.allclose(alone, both[:1])


@pytest.mark.parametrize("above", [True, False])
def test_values_at_the_threshold(above: bool) -> None:
    """The predicate looks at the input itself, so that there is no rounding in between."""
    module = randomize(
        Decides(
            (lambda m, x, h: x.max() > 1.5) if above else (lambda m, x, h: x.amin() <= -1.5),
            lambda m, x, h: m.a(h),
            lambda m, x, h: m.b(h),
        )
    )
    sign = 1.0 if above else -1.0
    at = np.float32(1.5 * sign)
    with compiled(module, rows(5, 16), ROWS) as f:
        for value in (
            at,
            np.nextafter(at, np.float32(9 * sign)),
            np.nextafter(at, np.float32(0)),
            np.float32("nan"),
        ):
            x = rows(5, 16).clamp(-1, 1)
            x[3, 7] = float(value)
            found = f(x)
            wanted = eager(module, x)
            assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5, equal_nan=True), value


PREDICATES: dict[str, Callable[..., Any]] = {
    "largest": lambda m, x, h: h.max() > 1,
    "smallest": lambda m, x, h: h.amin() < -2.5,
    "mean": lambda m, x, h: h.mean() > 0.05,
    "sum": lambda m, x, h: h.sum(dtype=torch.float32) > 1,
    "sum of squares": lambda m, x, h: (h * h).sum().sqrt() > 12,
    "any": lambda m, x, h: (h > 2).any(),
    "all": lambda m, x, h: (h.abs() < 3).all(),
    "both": lambda m, x, h: (h.mean() > 0) & (x.max() < 3),
    "not": lambda m, x, h: torch.logical_not(h.mean() > 0),
    "of dimensions": lambda m, x, h: h.amax((0, 1)) > 1,
    "mean of largest": lambda m, x, h: h.amax(-1).mean() > 1.2,
    "with a parameter": lambda m, x, h: h.max() > m.a.bias.max() * 3,
    "of a buffer": lambda m, x, h: m.flag,
}


@pytest.mark.parametrize("name", PREDICATES)
def test_predicates(name: str) -> None:
    module = randomize(Decides(PREDICATES[name], lambda m, x, h: m.a(F.gelu(h)), lambda m, x, h: m.b(h) * x))
    with torch.no_grad():
        module.first.bias.zero_()
        module.first.weight *= 0.6
    sides = set()
    with compiled(module, rows(3, 16), ROWS) as f:
        for seed in range(8):
            x = rows(1 + seed, 16, seed=seed) * (0.2 + 0.3 * seed)
            assert error(f(x), module, x) < 1e-5
            with torch.no_grad():
                sides.add(bool(PREDICATES[name](module, x, module.first(x))))
    assert len(sides) == 2 or name == "of a buffer"


@pytest.mark.parametrize("cond", [torch.cond, torch.ops.higher_order.cond], ids=["cond", "the operator"])
def test_a_language_model_cannot_decide_for_all_its_tokens(cond: Any) -> None:
    model = tiny_llama()
    mlp = model.model.layers[1].mlp
    forward = mlp.forward
    mlp.forward = lambda x: cond(x.max() > 1, lambda x: forward(x), lambda x: x * 2, (x,))
    message = r"^layers\.1\.mlp: torch\.cond is not compiled in a language model: a step has tokens of several requests"
    with pytest.raises(ImportModelError, match=message) as refusal:
        mk.compile_module(model, use_cache=False)
    assert "\n" not in str(refusal.value)


def test_graphs_that_torch_has_exported_call_the_operator() -> None:
    module = randomize(Decides(lambda m, x, h: x.max() > 1.5, lambda m, x, h: m.a(h), lambda m, x, h: m.b(h)))
    exported = torch.export.export(module, (rows(3, 16),), dynamic_shapes=({0: Dim("n", min=2)},))
    with compiled(exported.module(), rows(3, 16), ROWS) as f:
        for scale in (0.1, 3.0):
            assert error(f(rows(5, 16) * scale), module, rows(5, 16) * scale) < 1e-5


def _nested(m: Decides, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    inner: Tensor = torch.cond(h.amin() < -2.5, lambda h: m.a(h).relu(), lambda h: torch.tanh(h), (h,))
    return inner + x, x * 2


def test_nested_branches_with_several_results() -> None:
    module = randomize(Decides(lambda m, x, h: x.mean() > 0, _nested, lambda m, x, h: (m.b(h), x * 0 + 0.5)))
    sides = set()
    with compiled(module, rows(3, 16), ROWS) as f:
        for seed in range(12):
            x = rows(2, 16, seed=seed)
            assert error(f(x), module, x) < 1e-5
            with torch.no_grad():
                sides.add((bool(x.mean() > 0), bool(module.first(x).amin() < -2.5)))
    assert len(sides) == 4


class Deep(nn.Module):
    """Branches of branches: more than an instruction has conditions."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, level: int = 0) -> Tensor:
        if level == 7:
            last: Tensor = self.a(x)
            return last
        result: Tensor = torch.cond(
            x.amax() > 0.3 * level,
            lambda x: self.forward(x, level + 1),
            lambda x: self.b(x) * (level + 1),
            (x,),
        )
        return result


def test_branches_deeper_than_an_instruction_has_conditions() -> None:
    module = randomize(Deep())
    with compiled(module, rows(2, 16), ROWS) as f:
        counts = [len(family["conditions"]) for family in f.program.manifest["families"]]
        assert set(counts) == {0, 1, 2, 3, 4}
        for level in range(9):
            x = rows(2, 16, seed=level).clamp(max=-0.1)
            x[1, 3] = 0.3 * level - 0.15
            assert error(f(x), module, x) < 1e-5


class Attends(nn.Module):
    """An encoder whose second layer runs only for calls that have a large number."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, width + 32, batch_first=True) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers[0](x)
        result: Tensor = torch.cond(x.max() > 2.2, lambda h: self.layers[1](h), lambda h: h * 0.5, (h,))
        return result


def test_attention_in_a_branch() -> None:
    module = randomize(Attends())
    dynamic = ({0: Dim("batch", max=4), 1: Dim("length", max=64)},)
    sides = set()
    with compiled(module, rows(2, 6, 32), dynamic, max_sequences=4) as f:
        for seed, shape in enumerate(((2, 6), (1, 3), (4, 20), (3, 7), (1, 64), (4, 3))):
            x = rows(*shape, 32, seed=seed)
            x = x * (3 if seed % 2 else 2.0) / x.max()
            sides.add(bool(x.max() > 2.2))
            assert error(f(x), module, x) < 1e-5
    assert len(sides) == 2


def test_bits_do_not_depend_on_workers_and_fusions() -> None:
    module = randomize(EarlyExit(0.0))
    inputs = [rows(count, 24, seed=count) for count in (1, 5, 30)]
    module.threshold = sorted(confidence(module, x) for x in inputs)[1]
    found: list[list[Tensor]] = []
    for options in (
        {"workers": 1},
        {"workers": 2},
        {"workers": 3},
        {"without": ["concat", "norm", "residual", "generic"]},
    ):
        with compiled(module, inputs[1], ROWS, **options) as f:
            found.append([f(x) for x in inputs])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def body_times(f: mk.Function, families: set[int]) -> float:
    """Seconds that the bodies of some families' tasks took in the last step, all workers together."""
    times, table = f._open()._device.times(), f.program.arrays["table"]
    assert times is not None
    words = {field["name"]: field["index"] for field in f.program.manifest["abi"]["instruction"]}
    chosen = np.isin(table[..., words["family"]], list(families)) & (table[..., words["kind"]] >= 0)
    stamps = times.stamps[-1][chosen]
    return float((stamps[:, 2] - stamps[:, 1]).sum()) * 1e-9


def test_what_is_passed_over_does_not_run() -> None:
    """Nothing is written by it, and its tasks take no time."""
    module = randomize(EarlyExit(0.5, layers=4, width=256, inner=4096))
    x = rows(1, 256)
    sure, seconds = confidence(module, x), {}
    for side, threshold in (("stop", sure - 0.01), ("go on", sure + 0.01)):
        module.threshold = threshold
        with compiled(module, x, ROWS, trace=True) as f:
            manifest = f.program.manifest
            families = manifest["families"]
            passed = {i for i, one in enumerate(families) if [c[:4] for c in one["conditions"]] == ["not "]}
            assert {families[i]["module"] for i in passed} > {"later.1.1", "later.3.3"}
            assert error(f(x), module, x) < 1e-5
            device = f._open()._device
            places = {buffer["name"]: buffer["offset"] for buffer in manifest["buffers"]}
            own = {b: places[b] for i in passed for b in families[i]["results"]}
            others = {places[b] for i, one in enumerate(families) if i not in passed for b in one["results"]}
            alone = [name for name, place in own.items() if place not in others]
            assert alone
            for name in alone:
                device.rows(name)[0] = 77.0
            f(x)
            untouched = [name for name in alone if (device.rows(name)[0] == 77.0).all()]
            assert untouched == (alone if side == "stop" else [])
            seconds[side] = body_times(f, passed)
            for _ in range(4):  # the quickest: a worker may lose its core between two stamps
                f(x)
                seconds[side] = min(seconds[side], body_times(f, passed))
    assert seconds["stop"] < 0.05 * seconds["go on"], seconds


def test_the_interpreter_means_the_same() -> None:
    module = randomize(Decides(lambda m, x, h: h.mean() > 0, _nested, lambda m, x, h: (m.b(h), x * 3)))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    for level in ("mk", "fused", "plan"):
        lowered = mk.lower_module(module, to=level, inputs=(rows(4, 16),), dtype="float32")
        for seed in range(6):
            x = rows(4, 16, seed=seed)
            arrays = {"x": x.numpy(), "last_positions": np.full(4, 3, np.int32)}
            interpreter = mk.interpret.Interpreter(lowered, weights, 1, 64)
            found = interpreter.call(np.zeros(4), np.arange(4), np.zeros(4), [], inputs=arrays)
            assert error(tuple(map(torch.from_numpy, found)), module, x) < 1e-5


def test_a_call_is_one_step() -> None:
    module = randomize(EarlyExit(0.5))
    with compiled(module, rows(3, 24), ROWS, max_tokens=16) as f:
        assert error(f(rows(16, 24)), module, rows(16, 24)) < 1e-5
        with pytest.raises(
            mk.InputError, match="17 rows; the module decides for all rows of a call at once, and the"
        ):
            f(rows(17, 24))


def test_the_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MK_CACHE", "0")
    page = (ROOT / "docs/control.md").read_text()
    names: dict[str, Any] = {"__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for code in blocks(page, "python"):
            exec(code, names)
    assert out.getvalue() == blocks(page, "text")[0]
    module, inputs = names["classifier"], (names["unsure"], names["sure"])
    for answer, x in zip(names["answers"], (*inputs, torch.cat(inputs[::-1])), strict=True):
        assert float((answer - eager(module, x)).abs().max()) < 1e-5
    assert not torch.allclose(names["answers"][1], names["answers"][2][:1], atol=1e-4)
    names["f"].close()


def test_steps_are_made_for_whole_calls() -> None:
    module = randomize(EarlyExit(0.5))
    for spec, most in (({0: Dim("rows", max=700)}, 700), (None, 600)):
        x = rows(600, 24)
        with compiled(module, x, None if spec is None else {"x": spec}) as f:
            assert f.program.manifest["sizes"]["max_tokens"] == most
            assert error(f(x), module, x) < 1e-5
    with pytest.raises(
        mk.CompileError, match="max_tokens is 512; the module decides for all rows of a call at once"
    ):
        compiled(module, rows(600, 24), max_tokens=512)
    attends = randomize(Attends())
    with compiled(attends, rows(12, 60, 32)) as f:
        assert error(f(rows(12, 60, 32)), attends, rows(12, 60, 32)) < 1e-5


def test_bfloat16_and_what_explain_says(capsys: pytest.CaptureFixture[str]) -> None:
    module = randomize(EarlyExit(0.0))
    inputs = [rows(2, 24, seed=seed) for seed in range(4)]
    module.threshold = sum(confidence(module, x) for x in inputs[:2]) / 2
    sides = {confidence(module, x) > module.threshold for x in inputs}
    with compiled(module, inputs[0], ROWS, dtype="bfloat16") as f:
        assert len(sides) == 2 and all(error(f(x), module, x) < 0.02 for x in inputs)
        explain(f.program)
        listing = table_text(f.program.manifest, f.program.arrays["table"], f.program.arrays["counts"])
    assert re.search(r"later\.0\.1 +tiles +units 0\.\.\d+  if not step\.\S+", listing)
    assert " if " not in "".join(line for line in listing.splitlines() if " first.0 " in line)
    assert re.search(
        r"conditions +\d+ of \d+ families, with \d\.\d MiB of weights, are passed", capsys.readouterr().out
    )


class Loops(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(self, x)
        return result


def _while(m: Loops, x: Tensor) -> Tensor:
    from torch._higher_order_ops import while_loop

    (y,) = while_loop(lambda y: y.sum() < 10, lambda y: (m.inner(y),), (x,))
    return y


def _scan(m: Loops, x: Tensor) -> Tensor:
    from torch._higher_order_ops import scan

    _, y = scan(lambda c, row: (c + row, (c + row).clone()), torch.zeros(16), x, dim=0)
    return y


def _map(m: Loops, x: Tensor) -> Tensor:
    from torch._higher_order_ops import map as torch_map

    return torch_map(lambda row: row * 2, x)


def _captures(x: Tensor, effect: Callable[[Tensor, list[Tensor]], Any]) -> Tensor:
    h, seen = x + 1, [x]

    def taken() -> Tensor:
        effect(h, seen)
        return h + 1

    result: Tensor = torch.cond(x.max() > 1, taken, lambda: h - 1, ()) + h
    return result


def _set(m: Loops, x: Tensor) -> Tensor:
    m.last = x
    return x * 2


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "while_loop": (_while, r"torch\.while_loop is an unbounded loop, which mk cannot compile"),
    "scan": (_scan, r"torch\.scan is a loop along a dimension|cannot be exported"),
    "map": (_map, r"torch\.map is a loop along a dimension|cannot be exported"),
    "item": (lambda m, x: m.inner(x) if x.sum().item() > 0 else x * 2, "torch.cond"),
    "if": (lambda m, x: m.inner(x) if x.sum() > 0 else x * 2, "torch.cond"),
    "a predicate of some rows": (
        lambda m, x: torch.cond(x.mean(0).max() > 0, lambda x: m.inner(x), lambda x: x * 2, (x,)),
        "the reduction goes over rows",
    ),
    "a predicate of one row": (
        lambda m, x: torch.cond(x[0, 0] > 0, lambda x: m.inner(x), lambda x: x * 2, (x,)),
        "the choice of one goes over rows",
    ),
    "a predicate for each row": (
        lambda m, x: torch.cond(x.max(-1).values > 0, lambda x: m.inner(x), lambda x: x * 2, (x,)),
        r"torch.cond has a predicate with a number for each row; make one boolean of it, as by \.all\(\)",
    ),
    "a branch that writes": (
        lambda m, x: torch.cond(x.max() > 0, lambda x: x.mul_(2), lambda x: m.inner(x), (x,)),
        "has a branch that writes to its operands",
    ),
    "a branch that writes to what it captures": (
        lambda m, x: _captures(x, lambda h, seen: h.mul_(2)),
        "or to another tensor from outside of it",
    ),
    "a branch that sets an attribute": (
        lambda m, x: torch.cond(x.max() > 0, lambda x: _set(m, x), lambda x: m.inner(x), (x,)),
        "has a branch that changes what lies outside of it",
    ),
    "a branch that appends": (
        lambda m, x: _captures(x, lambda h, seen: seen.append(h)),
        "has a branch that changes what lies outside of it",
    ),
    "a median": (
        lambda m, x: torch.cond(x.median() > 0, lambda x: m.inner(x), lambda x: x * 2, (x,)),
        "median",
    ),
    "a branch that lets rows meet": (
        lambda m, x: torch.cond(x.max() > 0, lambda x: m.inner(x).cumsum(0), lambda x: x * 2, (x,)),
        "goes over rows",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_operator_and_the_module(name: str) -> None:
    function, message = REFUSED[name]
    module = nn.Sequential(nn.Linear(16, 16), Loops(function))
    with pytest.raises(ImportModelError, match=message) as refusal:
        mk.compile_module(module, inputs=(rows(3, 16),), dynamic=({0: Dim("n", min=2)},), use_cache=False)
    assert str(refusal.value).startswith("1")
    assert "\n" not in str(refusal.value)
