# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules of the user's own as programs for a GPU, run on this processor (gpu_machine.py) against PyTorch."""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_cuda import Result
from gpu_machine import GpuMachine
from mk.build import facts_of
from mk.build_function import import_sized
from mk.runtime.agenda import agenda
from mk.runtime.gpu import driver
from mk.schedule import ShuffledExecutor
from models import randomize
from test_function import flat, rows, tokens
from test_schedule import judge, without_a_wait
from torch import nn
from torch.export import Dim

sys.path.append(str(Path(__file__).resolve().parents[1]))

from gpu.functions import Decoder, Gated, Pair

SIZES = {"target": "sm_90a", "workers": 3, "page": 16, "split": 32}


class Odd(nn.Module):
    """Loop nests: a softmax over some of the columns, a transpose within a row, a product of two activations."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        heads = torch.softmax(x.unflatten(-1, (4, 6)), -1)
        return heads.transpose(-1, -2).flatten(-2), heads @ x.unflatten(-1, (6, 4)), x


class Mixer(nn.Module):
    """A block of a vision transformer: patches see all patches of their image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(48 * 2, 64)
        self.first, self.second = nn.LayerNorm(64), nn.LayerNorm(64)
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)
        self.mlp = nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 64))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        x = self.embed(patches)
        q, k, v = (t.unflatten(-1, (2, 32)).transpose(1, 2) for t in self.qkv(self.first(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))
        result: torch.Tensor = x + self.mlp(self.second(x))
        return result


@contextmanager
def on_gpu(
    module: nn.Module, inputs: tuple[Any, ...], dynamic: Any, folder: Path, **options: Any
) -> Iterator[tuple[mk.Function, GpuMachine]]:
    """The function, and the machine that it runs on."""
    imported, made = import_sized(module, inputs, dynamic, {**SIZES, **options}, None)
    machine = GpuMachine(imported.text, made, folder)
    program = dataclasses.replace(
        machine.program,
        constants=dict(imported.constants),
        facts=facts_of(imported),
        weights=imported.weights,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "bindings", lambda: machine.cuda)
        with mk.Function(program) as f:
            yield f, machine
    assert not machine.faults


def check(f: mk.Function, module: nn.Module, *inputs: Any, like: nn.Module | None = None) -> None:
    """Against PyTorch in float32: at most half as far again from it as PyTorch in bfloat16. `like`: a module that the
    results must not be as near to."""

    def run(of: nn.Module, given: Any) -> list[np.ndarray[Any, Any]]:
        with torch.no_grad():
            return [x.double().numpy() for x in flat(of(*given))]

    rounded = [x.bfloat16() if x.is_floating_point() else x for x in inputs]
    exact, near = run(module, inputs), run(copy.deepcopy(module).bfloat16(), rounded)
    found = f(*inputs)
    for i, (a, b, c) in enumerate(zip(flat(found), exact, near, strict=True)):
        assert tuple(a.shape) == b.shape and a.dtype == torch.float32
        error, allowed = np.abs(a.double().numpy() - b), np.abs(c - b)
        scale = np.abs(b).max()
        assert error.mean() <= 1.5 * allowed.mean() + 1e-6 * scale
        assert error.max() <= 1.5 * allowed.max() + 1e-5 * scale
        if like is not None:
            other = np.abs(a.double().numpy() - run(like, inputs)[i])
            assert other.mean() > 1.5 * allowed.mean()


class Bare(nn.Module):
    """Attention over the inputs themselves: queries are what the host writes."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        q, k = (t.unflatten(-1, (2, 32)).transpose(1, 2) for t in (x, y))
        return F.scaled_dot_product_attention(q, k, k, is_causal=True).transpose(1, 2).flatten(-2)


BATCH = {0: Dim("b")}
BOTH = {0: Dim("b"), 1: Dim("l", max=50)}


def test_queries_may_be_inputs(tmp_path: Path) -> None:
    module, inputs = Bare(), (rows(2, 5, 64), rows(2, 5, 64))
    with on_gpu(module, inputs, (BOTH, BOTH), tmp_path) as (f, _):
        for batch, length in ((2, 5), (1, 37)):
            check(f, module, rows(batch, length, 64), rows(batch, length, 64))


class Sides(nn.Module):
    """One side attends, with its input for a query; what the other one makes goes to the same place."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def attend(x: torch.Tensor) -> torch.Tensor:
            q, k, v = (t.unflatten(-1, (2, 32)).transpose(1, 2) for t in (x, self.keys(x), self.values(x)))
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)

        result: torch.Tensor = torch.cond(x.mean() > 0, attend, lambda x: x * 2, (x,))
        return result


def test_a_side_that_attends_with_its_input(tmp_path: Path) -> None:
    module, x = randomize(Sides()), rows(2, 6, 64)
    with on_gpu(module, (x,), (BOTH,), tmp_path) as (f, _):
        for given in (x + 1, x - 1, x + 1):
            with torch.no_grad():
                expected = module(given)
            assert torch.allclose(f(given), expected, atol=0.05 * float(expected.abs().max()))


class Normed(nn.Module):
    """Norms of heads of queries, keys and values: the store of keys stays behind the attention that makes them too."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(64, 3 * 128)
        self.norms = nn.ModuleList(nn.RMSNorm(64) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = (
            norm(t.unflatten(-1, (2, 64)))
            for norm, t in zip(self.norms, self.qkv(x).chunk(3, -1), strict=True)
        )
        q, k, v = (t.transpose(1, 2) for t in parts)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)


def test_norms_of_all_heads(tmp_path: Path) -> None:
    module, x = randomize(Normed()), rows(2, 6, 64)
    with on_gpu(module, (x,), (BOTH,), tmp_path) as (f, _):
        check(f, module, x)
        check(f, module, rows(1, 37, 64))


def test_an_mlp_over_more_rows_than_a_step_is_one_launch(tmp_path: Path) -> None:
    module = randomize(Gated(64, 96))
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.norm.weight += 0.1
    with on_gpu(module, (rows(2, 64),), ({**BATCH},), tmp_path) as (f, machine):
        for count in (1, 7, 16, 17, 40):
            machine.cuda.launched.clear()
            check(f, module, rows(count, 64), like=other)
            main = "mk_main_8" if count <= 8 else "mk_main"
            assert [name for name in machine.cuda.launched if "main" in name] == [main]
        x = rows(40, 64)
        together = f(x)
        for a, b in ((0, 1), (0, 17), (16, 40), (5, 12)):
            assert torch.equal(together[a:b], f(x[a:b]))


def test_several_inputs_and_results(tmp_path: Path) -> None:
    module = randomize(Pair())
    spec = {"x": {0: Dim("b"), 1: Dim("l")}, "y": {0: Dim("b"), 1: Dim("l")}}
    inputs = (rows(2, 3, 64), rows(2, 3, 96, seed=1))
    with on_gpu(module, inputs, spec, tmp_path) as (f, _):
        for shape in ((2, 3), (5, 7), (1, 16)):
            check(f, module, rows(*shape, 64), rows(*shape, 96, seed=1))
        found = f(*(x.numpy() for x in inputs))
        assert isinstance(found["out"], np.ndarray) and list(found) == ["hidden", "out"]


def test_generated_tasks(tmp_path: Path) -> None:
    module = Odd()
    with on_gpu(module, (rows(2, 24),), ({**BATCH},), tmp_path) as (f, _):
        for count in (2, 21):
            with torch.no_grad():
                wanted = module(rows(count, 24))
            for a, b in zip(f(rows(count, 24)), wanted, strict=True):
                assert torch.allclose(a, b, atol=1e-5) and a.shape == b.shape


@pytest.mark.parametrize("causal", [True, False])
def test_an_own_transformer(causal: bool, tmp_path: Path) -> None:
    """Entries that fit a step, several of them in one, and those of three steps, whose rows may see each other."""
    module = randomize(Decoder(causal, longest=60))
    other = copy.deepcopy(module)
    other.causal = not causal
    with on_gpu(module, (tokens(2, 5),), ({**BOTH},), tmp_path, max_sequences=3) as (f, machine):
        for shape in ((2, 5), (1, 1), (7, 6), (1, 40), (4, 19)):
            machine.cuda.launched.clear()
            check(f, module, tokens(*shape), like=other if shape[1] > 1 else None)
            assert len([name for name in machine.cuda.launched if "main" in name]) == 1


ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "vision block": Mixer,
    "batch first": lambda: nn.TransformerEncoderLayer(64, 2, 96, batch_first=True),
    "norm first": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(64, 2, 96, batch_first=True, norm_first=True, activation="gelu"),
        2,
        enable_nested_tensor=False,
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_see_their_whole_entry(name: str, tmp_path: Path) -> None:
    module = randomize(ENCODERS[name]())
    columns = 96 if name == "vision block" else 64
    with on_gpu(module, (rows(2, 6, columns),), ({**BOTH},), tmp_path) as (f, _):
        for shape in ((2, 6), (1, 16), (2, 37)):
            check(f, module, rows(*shape, columns))


def test_calls_have_no_memory_and_entries_no_neighbours(tmp_path: Path) -> None:
    module = randomize(Decoder(causal=False, longest=60))
    with on_gpu(module, (tokens(2, 5),), ({**BOTH},), tmp_path, max_sequences=3) as (f, _):
        ids = tokens(4, 21)
        first = f(ids)
        f(tokens(2, 50, seed=3))  # leaves its keys behind
        assert torch.equal(first, f(ids))
        assert all(torch.equal(first[i : i + 1], f(ids[i : i + 1])) for i in range(4))


def test_inputs_that_are_no_numbers_do_not_hang(tmp_path: Path) -> None:
    """All ones are a NaN, and what says in a flagged buffer that nothing has been written."""

    class Through(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.where(x > 1e30, x, -x).flip(-1)  # numbers that pass through
            result: torch.Tensor = y + self.inner(torch.softmax(y, -1))
            return result

    module, x = randomize(Through()), rows(19, 64)
    bits = x.numpy().view(np.uint32)
    bits[3, 5], bits[17] = 0xFFFFFFFF, 0xFFFFFFFF
    bits[4, 5] = 0x7FFFFFFF
    for without in ((), ("generic",)):
        folder = tmp_path / "-".join(("all", *without))
        folder.mkdir()
        with on_gpu(module, (rows(2, 64),), ({**BATCH},), folder, without=without) as (f, _):
            found = f(x).numpy()
            sound = [i for i in range(19) if i not in (3, 4, 17)]
            assert np.isnan(found[[3, 4, 17]]).all() and np.isfinite(found[sound]).all()
            assert np.array_equal(found[sound], f(x[sound]).numpy())


class OnGpu:
    """A NumPy array that plays one on the GPU."""

    def __init__(self, array: np.ndarray[Any, Any], machine: GpuMachine, ordinal: int = 0) -> None:
        self.array = array
        (machine.cuda.on_gpu.discard if ordinal else machine.cuda.on_gpu.add)(array.ctypes.data)
        self.__cuda_array_interface__ = array.__array_interface__


def of_gpu(value: Any) -> np.ndarray[Any, Any]:
    """A copy of what a function left there, as other libraries find it."""
    interface = value.__cuda_array_interface__
    count = int(np.prod(interface["shape"]))
    memory = (ctypes.c_uint8 * (count * int(interface["typestr"][2:]))).from_address(interface["data"][0])
    return np.frombuffer(memory, interface["typestr"]).reshape(interface["shape"]).copy()


def test_arrays_on_the_gpu_stay_there(tmp_path: Path) -> None:
    module = randomize(Pair())
    spec = {"x": {0: Dim("b"), 1: Dim("l")}, "y": {0: Dim("b"), 1: Dim("l")}}
    x, y = rows(3, 7, 64).numpy(), rows(3, 7, 96, seed=1).numpy()
    with on_gpu(module, (torch.zeros(2, 3, 64), torch.zeros(2, 3, 96)), spec, tmp_path) as (f, machine):
        wanted = f(x, y)
        for given in ((OnGpu(x, machine), OnGpu(y, machine)), (x, OnGpu(y, machine))):
            found = f(*given)
            for name in wanted:
                assert np.array_equal(of_gpu(found[name]), wanted[name])
        held = f(OnGpu(x, machine), OnGpu(y, machine))["out"]
        f(OnGpu(-x, machine), OnGpu(-y, machine))
        assert np.array_equal(of_gpu(held), wanted["out"])  # results are the caller's own
        with pytest.raises(mk.InputError, match="an input lies on GPU 7, but the program runs on GPU 0"):
            f(x, OnGpu(y.copy(), machine, ordinal=7))
        with pytest.raises(mk.InputError, match=r"input y: this array cannot be read: its strides are"):
            f(x, OnGpu(np.stack([y, y], -1)[..., 0], machine))
        with pytest.raises(mk.InputError, match="input y is float16; expected float32"):
            f(x, OnGpu(y.astype(np.float16), machine))
        assert np.array_equal(f(x, y)["out"], wanted["out"])


def test_ids_and_turned_results_on_the_gpu(tmp_path: Path) -> None:
    """What is checked, or is not as rows lie, goes through the host; the results are on the GPU all the same."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(50, 16)

        def forward(self, ids: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            y = torch.tanh(x) + self.table(ids)
            return y.transpose(0, 1), y.bfloat16()

    module = randomize(Turned())
    ids, x = tokens(3, 5), rows(3, 5, 16)
    spec = {"ids": {0: Dim("b"), 1: Dim("l")}, "x": {0: Dim("b"), 1: Dim("l")}}
    with on_gpu(module, (tokens(2, 4), rows(2, 4, 16)), spec, tmp_path) as (f, machine):
        first, second = f(OnGpu(ids.numpy(), machine), OnGpu(x.numpy(), machine))
        a, b = f(ids.numpy(), x.numpy())
        assert np.array_equal(of_gpu(first), a) and np.array_equal(of_gpu(second), b.view(np.int16))
        with torch.no_grad():
            assert np.abs(a - module(ids, x)[0].numpy()).max() < 0.02
        ids[1, 1] = 50
        with pytest.raises(mk.InputError, match=r"input ids holds 50; expected 0 \.\. 49"):
            f(OnGpu(ids.numpy(), machine), OnGpu(x.numpy(), machine))


def test_close_frees_what_calls_needed(tmp_path: Path) -> None:
    module = randomize(Gated(64, 96))
    with on_gpu(module, (rows(2, 64),), ({**BATCH},), tmp_path) as (f, machine):
        for count in (3, 100, 5):
            f(rows(count, 64))
        f.close()
        gc.collect()
        assert not machine.cuda.streams and not machine.cuda.modules
        assert sum(map(len, machine.cuda.blocks.values())) <= 64  # pinned: the word that cancels a run


def test_refusals_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, the wrong one, too little memory for a call, and heads that the GPU's attention does not know."""
    module, x = randomize(Gated(64, 96)), rows(2, 64)
    with on_gpu(module, (x,), ({**BATCH},), tmp_path) as (f, machine):
        wanted = f(x)
        machine.cuda.fails["cuMemAlloc"] = Result.CUDA_ERROR_OUT_OF_MEMORY
        with pytest.raises(mk.MkError, match=r"a call of this size needs .* MiB more on Fake GPU"):
            f(rows(5000, 64))
        del machine.cuda.fails["cuMemAlloc"]
        assert torch.equal(f(x), wanted)
        f.close()
        machine.cuda.attributes["major"] = 8
        with pytest.raises(mk.PackageError, match="made for sm_90a, but this GPU is Fake GPU, sm_80"):
            mk.Function(f.program)(x)

    def nothing() -> Any:
        raise ImportError("no module")

    monkeypatch.setattr(driver, "bindings", nothing)
    with pytest.raises(mk.MkError, match="needs the package cuda-bindings"):
        mk.Function(f.program)(x)
    layer = randomize(nn.TransformerEncoderLayer(64, 4, 96, batch_first=True))
    with pytest.raises(mk.CompileError, match=r"expects heads of 32, 64, 128 or 256 columns .*at self_attn"):
        mk.compile_module(layer, inputs=(rows(2, 6, 64),), target="sm_90a", use_cache=False)


def test_a_package_is_assembled_and_saved(tmp_path: Path) -> None:
    """By ptxas, for both kernels, without registers in memory; two attentions are two passes more."""
    module = randomize(Decoder(causal=False, longest=60))
    f = mk.compile_module(
        module, inputs=(tokens(2, 5),), dynamic=({**BOTH},), target="sm_90a", use_cache=False
    )
    f.save(tmp_path / "decoder.mkp")
    manifest = mk.Function(tmp_path / "decoder.mkp", module).program.manifest
    assert manifest["options"]["dtype"] == "bfloat16" and manifest["cache"]["layers"] == 2
    assert [(kernel["name"], kernel["spills"]) for kernel in manifest["gpu"]["kernels"]] == [
        ("mk_main_8", 0),
        ("mk_main", 0),
    ]


@pytest.mark.parametrize("sequences, passes", [(None, 1), (1, 1), (3, 1), (3, 4)])
def test_an_agenda_has_every_row_in_its_order(sequences: int | None, passes: int) -> None:
    for count, length in ((1, 1), (40, 1), (96, 16), (40, 20), (300, 100), (48, 3), (0, 1)):
        made = agenda(count, length, 16, sequences, passes)
        several = passes if sequences is not None and length > 16 else 1
        assert made.total == count and (made.counts > 0).all() and (made.counts <= 16).all()
        last: dict[int, int] = {}
        times = np.zeros(count, int)
        for n, found, positions, slots in zip(
            made.counts, made.rows, made.positions, made.slots, strict=True
        ):
            for row, position, slot in zip(found[:n], positions[:n], slots[:n], strict=True):
                times[row] += 1
                assert position == row % length
                if sequences is not None:
                    assert 0 <= slot < sequences
                    assert position == 0 or last[slot] == row - 1  # what it sees before it is there
                    last[slot] = row
        assert (times == several).all()


def test_every_pass_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of whole entries: with one pass less, or rows of one step alone, long entries are wrong."""
    module = randomize(Decoder(causal=False, longest=60))
    with on_gpu(module, (tokens(2, 5),), ({**BOTH},), tmp_path) as (f, _):
        short, long = f(tokens(2, 16)), f(tokens(2, 30))
        host = f._host
        assert host is not None and host._passes == 3
        for passes in (2, 1):
            host._passes = passes
            f(tokens(8, 50, seed=passes))  # other keys in all slots
            assert torch.equal(f(tokens(2, 16)), short)
            assert float((f(tokens(2, 30)) - long).abs().max()) > 0.01 * float(long.abs().max())


def test_bits_do_not_depend_on_workers_steps_or_the_order_of_threads(tmp_path: Path) -> None:
    module, ids = randomize(Decoder(causal=False, longest=60)), tokens(3, 21)
    found = []
    for i, options in enumerate(({}, {"workers": 7}, {"max_tokens": 4, "max_sequences": 2}, {"trace": True})):
        (tmp_path / str(i)).mkdir()
        with on_gpu(module, (tokens(2, 5),), ({**BOTH},), tmp_path / str(i), **options) as (f, machine):
            machine.seed = 1000 * i
            found.append(f(ids))
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("workers", [4, 132])
def test_the_schedule_holds_in_any_order(workers: int) -> None:
    """Inputs, records and results are in the proof: what it accepts runs in any legal order, without a wait it does
    not accept."""
    module = randomize(Decoder(causal=False, longest=60))
    planned = mk.lower_module(
        module, inputs=(tokens(2, 5),), dynamic=({**BOTH},), to="plan", **{**SIZES, "workers": workers}
    ).text()
    [accepted], [reference] = judge([planned])
    assert accepted and reference is not None
    for seed in range(5):
        ShuffledExecutor(reference).run(seed)
    assert not any(judge(without_a_wait(planned))[0])
