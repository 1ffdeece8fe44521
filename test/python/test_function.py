# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules of the user's own, compiled and called, against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mk
import ml_dtypes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mk.errors import ImportModelError
from models import randomize
from torch import nn
from torch.export import Dim


class Mlp(nn.Module):
    """Two inputs, two results in a dict; one of them a part of its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(24, 40), nn.Linear(40, 10)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.up(x) + torch.tanh(y)
        return {"out": self.down(F.gelu(h)), "first": h[..., :8]}


class Gated(nn.Module):
    """A gated block with a norm and a residual; the weight of the module itself has the name of the norm's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(24))
        self.norm = nn.RMSNorm(24, eps=1e-5)
        self.gate, self.up, self.down = nn.Linear(24, 40), nn.Linear(24, 40), nn.Linear(40, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x) * self.weight
        result: torch.Tensor = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return result


class Decoder(nn.Module):
    """An own transformer: tokens and learned positions, grouped heads; every row sees all, or those before."""

    def __init__(self, causal: bool = True, layers: int = 2) -> None:
        super().__init__()
        self.causal = causal
        self.tokens, self.positions = nn.Embedding(50, 32), nn.Embedding(100, 32)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(32),
                    "qkv": nn.Linear(32, 64),
                    "out": nn.Linear(32, 32),
                    "mlp": nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32)),
                }
            )
            for _ in range(layers)
        )
        self.head = nn.Linear(32, 50, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        batch, length = ids.shape
        x = self.tokens(ids) + self.positions(torch.arange(length, device=ids.device))
        for layer in self.layers:
            q, k, v = layer["qkv"](layer["norm"](x)).split([32, 16, 16], -1)  # type: ignore[index]
            heads = [t.view(batch, length, -1, 8).transpose(1, 2) for t in (q, k, v)]
            seen = F.scaled_dot_product_attention(*heads, is_causal=self.causal, enable_gqa=True)
            x = x + layer["out"](seen.transpose(1, 2).reshape(batch, length, 32))  # type: ignore[index]
            x = x + layer["mlp"](x)  # type: ignore[index]
        result: torch.Tensor = self.head(x)
        return result


def flat(value: Any) -> list[Any]:
    return (
        list(value.values())
        if isinstance(value, dict)
        else list(value)
        if isinstance(value, tuple)
        else [value]
    )


def check(f: mk.Function, module: nn.Module, *inputs: torch.Tensor) -> float:
    """The largest error over all results, of the largest number; types and shapes are PyTorch's."""
    with torch.no_grad():
        wanted = module(*inputs)
    found, errors = f(*inputs), []
    assert type(found) is type(wanted)
    for a, b in zip(flat(found), flat(wanted), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        errors.append(float((a.float() - b.float()).abs().max() / b.abs().max()))
    return max(errors)


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(seed))


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def compiled(module: nn.Module, inputs: tuple[Any, ...], dynamic: Any = None, **options: Any) -> mk.Function:
    f = mk.compile_module(module, inputs=inputs, dynamic=dynamic, use_cache=False, workers=2, **options)
    assert isinstance(f, mk.Function)
    return f


ENCODERS = {
    "batch first": nn.TransformerEncoderLayer(32, 4, 64, batch_first=True),
    "length first": nn.TransformerEncoderLayer(32, 4, 64),
    "norm first": nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True, activation="gelu"),
    "layers": nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 2, 48, batch_first=True), 2, enable_nested_tensor=False
    ),
}


def test_rows_of_a_module_with_several_inputs_and_results() -> None:
    module = randomize(Mlp())
    for shape in ((7,), (3, 5)):
        inputs = (rows(*shape, 24), rows(*shape, 40, seed=1))
        with compiled(module, inputs) as f:
            assert check(f, module, *inputs) < 1e-5
            found = f(*(x.numpy() for x in inputs))
            assert isinstance(found["out"], np.ndarray) and list(found) == ["out", "first"]


def test_a_gated_block_is_right_and_the_test_can_fail() -> None:
    module, x = randomize(Gated()), rows(2, 6, 24)
    with compiled(module, (x,)) as f:
        assert check(f, module, x) < 1e-5
        with torch.no_grad():
            module.norm.weight += 0.1  # the control: another gain of the norm
        assert check(f, module, x) > 1e-3


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_see_their_whole_entry(name: str) -> None:
    module = randomize(ENCODERS[name])
    names = (
        {0: Dim("l", max=90), 1: Dim("b")} if name == "length first" else {0: Dim("b"), 1: Dim("l", max=90)}
    )
    with compiled(module, (rows(2, 6, 32),), ({**names},)) as f:
        for shape in ((2, 6), (1, 1), (80, 3), (3, 80), (11, 33)):
            if name == "length first" or shape != (80, 3):
                assert check(f, module, rows(*shape, 32)) < 1e-5


@pytest.mark.parametrize("causal", [True, False])
def test_an_own_transformer(causal: bool) -> None:
    module = randomize(Decoder(causal))
    sizes = {"max_sequences": 3, **({"max_tokens": 32} if causal else {})}
    with compiled(module, (tokens(2, 5),), {"ids": {0: Dim("b"), 1: Dim("l", max=100)}}, **sizes) as f:
        for shape in ((2, 5), (1, 1), (10, 7), (2, 100), (3, 33)):
            assert check(f, module, tokens(*shape)) < 1e-5
        module.causal = not causal  # the control
        assert check(f, module, tokens(2, 9)) > 1e-3


def test_a_table_of_positions_bounds_the_length() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(20, 16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x + self.table[: x.shape[1]])

    module = randomize(Table())
    with compiled(module, (rows(2, 5, 16),), ({0: Dim.AUTO, 1: Dim.AUTO},)) as f:
        for length in (5, 1, 20):
            assert check(f, module, rows(3, length, 16)) < 1e-5
        with pytest.raises(mk.InputError, match=r"a length of 21; expected 1 \.\. 20"):
            f(rows(1, 21, 16))


def test_results_in_another_order_of_dimensions() -> None:
    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            y = torch.tanh(x)
            heads = y.view(*y.shape[:2], 4, 4)
            return (
                y.transpose(0, 1).reshape(x.shape[1], -1),
                heads.transpose(1, 2),
                y.transpose(1, 2),
                x,
                y,
                y.flatten(0, 1),
            )

    class Back(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x.transpose(1, 2) * 2)

    for module, x in ((Turned(), rows(3, 6, 16)), (Back(), rows(3, 16, 6))):
        spec = ({0: Dim("b"), 1: Dim("l")},) if isinstance(module, Turned) else ({0: Dim("b"), 1: Dim.AUTO},)
        with compiled(module, (x,), spec) as f:
            assert check(f, module, x) < 1e-5


def test_calls_have_no_memory_and_entries_no_neighbours() -> None:
    module = randomize(Decoder(causal=False))
    with compiled(module, (tokens(2, 5),), ({0: Dim("b"), 1: Dim("l", max=64)},), max_sequences=4) as f:
        ids = tokens(5, 9)
        first = f(ids)
        f(tokens(4, 64, seed=3))  # leaves its keys behind
        assert torch.equal(first, f(ids))
        assert all(torch.equal(first[i : i + 1], f(ids[i : i + 1])) for i in range(5))


def test_bits_do_not_depend_on_steps_and_workers() -> None:
    module, ids = randomize(Decoder()), tokens(4, 40)
    dynamic = ({0: Dim("b"), 1: Dim("l", max=64)},)
    found = []
    for options in (
        {},
        {"max_tokens": 16},
        {"max_sequences": 2},
        {"without": ["concat", "norm", "residual"]},
    ):
        with compiled(module, (tokens(2, 5),), dynamic, **options) as f:  # type: ignore[arg-type]
            found.append(f(ids))
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_a_package_of_a_function(tmp_path: Path) -> None:
    module, x = randomize(Gated()), rows(2, 6, 24)
    with compiled(module, (x,), ({1: Dim.AUTO},)) as f:
        f.save(tmp_path / "gated.mkp")
        wanted = f(x)
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    for weights in (module, state):
        with mk.Function(tmp_path / "gated.mkp", weights) as g:
            assert torch.equal(g(x), wanted)
    with pytest.raises(mk.WeightError, match="does not say where its weights are"):
        mk.Function(tmp_path / "gated.mkp")(x)
    with pytest.raises(mk.InputError, match=r"call it with mk\.Function"):
        mk.load(tmp_path / "gated.mkp").engine(module)


def test_the_cache_tells_functions_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MK_CACHE", raising=False)
    module = randomize(Gated())
    for shape in ((2, 6), (3, 4), (2, 6)):  # the same program, other shapes
        with mk.compile_module(module, inputs=(rows(*shape, 24),), workers=2) as f:
            assert check(f, module, rows(*shape, 24)) < 1e-5


def test_bfloat16_and_float16_modules() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        module = randomize(Mlp())
        wide = (rows(3, 5, 24).to(dtype), rows(3, 5, 40, seed=1).to(dtype))
        with torch.no_grad():
            exact = [v.float() for v in flat(module(*(x.float() for x in wide)))]
        narrow = randomize(Mlp()).to(dtype)
        with compiled(narrow, wide) as f:
            assert f.program.manifest["options"]["dtype"] == "bfloat16"
            for found, wanted in zip(flat(f(*wide)), exact, strict=True):
                assert found.dtype == dtype
                assert float((found.float() - wanted).abs().max() / wanted.abs().max()) < 0.02
            if dtype is torch.bfloat16:
                arrays = [x.view(torch.int16).numpy().view(ml_dtypes.bfloat16) for x in wide]
                assert f(*arrays)["out"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("level", ["mk", "fused", "plan"])
@pytest.mark.parametrize("causal", [True, False])
def test_the_interpreter_means_the_same(level: str, causal: bool) -> None:
    module, ids = randomize(Decoder(causal, layers=1)), tokens(2, 7)
    inputs = {"inputs": (ids,), "dtype": "float32", "max_length": 64}
    lowered = mk.lower_module(module, to=level, **inputs)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    interpreter = mk.interpret.Interpreter(lowered, weights, 2, 64)
    positions, slots = np.tile(np.arange(7), 2), np.repeat(np.arange(2), 7)
    arrays = {"ids": ids.reshape(-1).numpy().astype(np.int32), "last_positions": np.full(14, 6, np.int32)}
    (found,) = interpreter.call(np.zeros(14), positions, slots, [], inputs=arrays)
    with torch.no_grad():
        wanted = module(ids).reshape(14, 50).numpy()
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_inputs_that_do_not_fit_are_refused() -> None:
    module = randomize(Decoder())
    with compiled(module, (tokens(2, 5),), ({1: Dim("l", min=2, max=64)},)) as f:
        for value, message in (
            (tokens(2, 5).int(), "input ids is int32; expected int64"),
            (tokens(2, 65), r"input ids has a length of 65; expected 2 \.\. 64"),
            (tokens(2, 1), r"input ids has a length of 1; expected 2 \.\. 64"),
            (tokens(3, 5), "input ids has a batch of 3; expected 2"),
            (tokens(5), r"input ids has the shape \[5\]; expected \[batch, length\]"),
            (tokens(2, 5) + 1, r"input ids holds 50; expected 0 \.\. 49"),
            (-tokens(2, 5), r"input ids holds -\d+; expected 0 \.\. 49"),
            ([[1, 2]], "input ids is a list; expected a NumPy array or a torch tensor"),
        ):
            full = torch.full((2, 5), 50) if "holds 50" in message else value
            with pytest.raises(mk.InputError, match=message) as error:
                f(full)
            assert "\n" not in str(error.value)
        with pytest.raises(mk.InputError, match="2 inputs; expected 1: ids"):
            f(tokens(2, 5), tokens(2, 5))
    with pytest.raises(mk.InputError, match="closed"):
        f(tokens(2, 5))
    two = randomize(Mlp())
    with (
        compiled(two, (rows(4, 24), rows(4, 40)), ({0: Dim("n")}, {0: Dim("n")})) as f,
        pytest.raises(mk.InputError, match="input y has a length of 5, another input one of 4"),
    ):
        f(rows(4, 24), rows(5, 40))


class Lambda(nn.Module):
    def __init__(self, function: Any, **children: nn.Module) -> None:
        super().__init__()
        self.function, self.inner = function, nn.ModuleDict(children)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self.inner, *inputs)


X = torch.zeros(3, 6, 16)
REFUSED: dict[str, tuple[Any, tuple[Any, ...], str]] = {
    "mean over the batch": (lambda m, x: x - x.mean(0, keepdim=True), (X,), "mean.*goes over rows"),
    "mean over the length": (lambda m, x: x - x.mean(1, keepdim=True), (X,), "mean.*goes over rows"),
    "mean of everything": (lambda m, x: x - x.mean(), (X,), "mean.*goes over rows"),
    "sums that run along the length": (lambda m, x: x.cumsum(1), (X,), "cumsum.*goes over rows"),
    "softmax over the batch": (lambda m, x: x.softmax(0), (X,), "softmax.*goes over rows"),
    "one entry of the batch": (lambda m, x: x + x[0], (X,), "the choice of one goes over rows"),
    "the last row": (lambda m, x: x[:, -1], (X,), "the choice of one goes over rows"),
    "rows shifted": (lambda m, x: torch.cat([x[:, 1:], x[:, :1]], 1), (X,), "the slice goes over rows"),
    "rows reversed": (lambda m, x: x.flip(1), (X,), "flip.*goes over rows"),
    "rows sorted": (lambda m, x: x.sort(1).values, (X,), "sort.*goes over rows"),
    "products over batch and columns": (
        lambda m, x: F.softmax(x.transpose(0, 1).reshape(x.shape[1], -1), -1),
        (X,),
        "softmax.*goes over rows",
    ),
    "what has one row dropped": (lambda m, x: x.squeeze(), (X,), "drops dimensions that may be rows"),
    "the length dropped if it is one": (lambda m, x: x.squeeze(1), (X,), "drops dimensions that may be rows"),
    "batch and length swapped by a view": (
        lambda m, x: x + x.view(x.shape[1], x.shape[0], 16).transpose(0, 1),
        (X,),
        "does not keep rows apart|relates rows",
    ),
    "products between rows": (lambda m, x: x @ x.transpose(1, 2) @ x, (X,), "relates rows|goes over rows"),
    "differences between rows": (
        lambda m, x: (x[:, None] - x[:, :, None]).sum(1),
        (X,),
        "relates rows to each other",
    ),
    "a number of rows as a number": (lambda m, x: x / x.shape[1], (X,), "computes with the number of rows"),
    "a convolution": (
        lambda m, x: m["conv"](x.transpose(1, 2)).transpose(1, 2),
        (X,),
        "inner.conv: aten.conv1d.default: it is not known to keep rows apart",
    ),
    "a recurrence": (lambda m, x: m["gru"](x)[0], (X,), "the module fixes dimension 1 to 6|gru"),
    "batch norm": (lambda m, x: m["norm"](x.transpose(1, 2)), (X,), "inner.norm.*batch_norm"),
    "a mask": (
        lambda m, x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(6, 6).tril().bool()),
        (X,),
        "is given attn_mask|fixes dimension",
    ),
    "dropout": (
        lambda m, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
        (X,),
        "dropout_p 0.5, which must be 0",
    ),
    "attention over the batch": (
        lambda m, x: F.scaled_dot_product_attention(*[x.transpose(0, 1)] * 3).transpose(0, 1).cumsum(1),
        (X,),
        "goes over rows",
    ),
    "two lengths": (
        lambda m, x, y: F.scaled_dot_product_attention(x, y, y),
        (X, torch.zeros(3, 9, 16)),
        "independent leading sizes",
    ),
    "integers": (lambda m, x: x.argmax(-1), (X,), "returns torch.int64; expected floating-point"),
    "nothing": (lambda m, x: (), (X,), "returns no tensor"),
    "nested": (lambda m, x: (x, (x,)), (X,), "nested results"),
    "pixels": (lambda m, x: x, (torch.zeros(2, 3, 8, 8),), r"shape \[2, 3, 8, 8\]; expected"),
    "no rows": (lambda m, x: x * 2, (torch.zeros(16),), "no input has rows"),
    "booleans": (lambda m, x: x, (torch.zeros(3, 6, dtype=torch.bool),), "input input0 is torch.bool"),
    "text": (lambda m, x: x, ("text",), "input input0 is a str"),
    "another shape": (lambda m, x: x @ torch.zeros(5, 5), (X,), "does not run on the example inputs"),
    "a branch on the length": (
        lambda m, x: x * 2 if x.shape[1] % 2 else x,
        (X,),
        "depends on its length in a way that mk cannot check|cannot be exported",
    ),
    "a branch on values": (
        lambda m, x: x * 2 if x.sum() > 0 else x,
        (X,),
        "decides by numbers that the module computes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_step_of_rows_is_refused(name: str) -> None:
    function, inputs, message = REFUSED[name]
    torch.manual_seed(0)
    children = {
        "conv": nn.Conv1d(16, 16, 3, padding=1),
        "gru": nn.GRU(16, 16, batch_first=True),
        "norm": nn.BatchNorm1d(16),
    }
    module = Lambda(function, **(children if "inner" in message or name == "a recurrence" else {}))
    with pytest.raises(mk.CompileError, match=message) as error:
        mk.compile_module(module.eval(), inputs=inputs, use_cache=False)
    assert "\n" not in str(error.value)


def test_a_module_that_writes_its_buffers_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x + self.calls

    with pytest.raises(ImportModelError, match="Counter changes calls while it runs"):
        mk.compile_module(Counter(), inputs=(X,))


def test_a_branch_on_a_single_row_bounds_the_length() -> None:
    module = Lambda(lambda m, x: x * 2 if x.shape[1] == 1 else x * 3)
    with compiled(module, (X,), ({0: Dim.AUTO, 1: Dim.AUTO},)) as f:
        assert torch.equal(f(X + 1), X + 3)
        with pytest.raises(mk.InputError, match="has a length of 1; expected 2"):
            f(torch.ones(3, 1, 16))


def test_wrong_calls_of_the_compiler() -> None:
    module = randomize(Gated())
    x = rows(2, 6, 24)
    with pytest.raises(mk.CompileError, match="option dtype is float32; a gpu multiplies bfloat16 only"):
        mk.compile_module(module, "sm_90a", "float32", inputs=(x,))
    with pytest.raises(
        mk.CompileError, match="is multiplied on a gpu: expected a multiple of 32 columns, found 24"
    ):
        mk.compile_module(module, "sm_90a", inputs=(x,), use_cache=False)
    with pytest.raises(mk.CompileError, match="dynamic is given without inputs"):
        mk.compile_module(module, dynamic=({0: Dim("b")},))
    with pytest.raises(mk.CompileError, match="cannot compile a str with inputs"):
        mk.compile_module("model", inputs=(x,))
    with pytest.raises(mk.CompileError, match="dynamic names z; the inputs are x"):
        mk.compile_module(module, inputs=(x,), dynamic={"z": {0: Dim("b")}})
    with pytest.raises(mk.CompileError, match="dynamic has 2 entries for 1 inputs"):
        mk.compile_module(module, inputs=(x,), dynamic=(None, None))
    with pytest.raises(mk.CompileError, match="max_tokens is 16; attention over whole entries needs"):
        compiled(randomize(Decoder(causal=False)), (tokens(2, 40),), max_tokens=16)
    with pytest.raises(mk.CompileError, match="language model"):
        mk.Function(mk.compile_module(__import__("models").tiny_llama(), max_length=64, use_cache=False))
