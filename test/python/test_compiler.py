# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiler's driver: options, targets, levels, and what it hands to the runtime."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mk.compiler import Options, compile_text, lower_text
from mk.compiler.driver import LEVELS
from mk.compiler.target import Target, find_target, physical_cores
from mk.errors import CompileError
from mk.importer import import_model
from mk.interpret import compare, random_weights
from mk.interpret.interpreter import Interpreter
from mk.ir import Module, native
from models import tiny_llama

SMALL: dict[str, Any] = {"max_sequences": 4, "max_length": 64, "max_tokens": 16, "page": 16, "split": 32}


@pytest.fixture(scope="module")
def torch_text() -> str:
    return import_model(tiny_llama(tied=True)).text


# ------------------------------------------------------------------------------------------------------------- options


def test_defaults_become_an_attribute() -> None:
    assert Options().attribute() == (
        "#mk.options<max_tokens = 512, max_rows = 64, max_sequences = 8, max_length = 2048, page = 64, split = 256>"
    )
    assert Options(max_length=100, page=16, split=32).length == 112
    assert Options(max_sequences=100).rows == 100 and Options(max_tokens=32).rows == 32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_lenght": 10}, "unknown option max_lenght; did you mean max_length?"),
        ({"zzz": 1}, "unknown option zzz; there is target, dtype"),
        ({"dtype": "bfloat"}, "unknown option dtype: bfloat; did you mean bfloat16?"),
        ({"target": "x86-64-v9"}, "unknown option target: x86-64-v9; did you mean x86-64-v"),
        ({"max_tokens": 0}, "option max_tokens is 0; expected a whole number"),
        ({"max_tokens": True}, "option max_tokens is True; expected a whole number"),
        ({"max_length": 2.5}, "option max_length is 2.5; expected a whole number"),
        ({"page": 24}, "option page is 24; expected a power of two"),
        ({"split": 100}, "option split is 100; expected a multiple of page, 64"),
        ({"max_sequences": 1000}, "option max_tokens is 512, less than the 1000"),
        ({"max_rows": 4}, r"option max_rows is 4; expected max_sequences .. max_tokens, 8 .. 512"),
        ({"workers": 5000}, "option workers is 5000; expected at most"),
        ({"without": "glu"}, "option without is the text"),
        ({"without": ["residuals"]}, "unknown option without: residuals; did you mean residual?"),
    ],
)
def test_wrong_options_are_refused_at_once(values: dict[str, Any], message: str) -> None:
    began = time.perf_counter()
    with pytest.raises(CompileError, match=message.replace("?", r"\?")):
        Options.of(**values)
    assert time.perf_counter() - began < 0.01


# ------------------------------------------------------------------------------------------------------------- targets


def test_this_machine() -> None:
    cores = physical_cores()
    assert set(cores) <= os.sched_getaffinity(0) and len(cores) == len(set(cores)) >= 1
    target = find_target()
    assert target.workers == len(cores) and target.arch == platform.machine()
    assert set(target.features) <= set(native.host_features().split(","))
    assert find_target(workers=3).workers == 3


@pytest.mark.parametrize(
    ("features", "lanes"),
    [(("sse2",), 4), (("avx2",), 4), (("avx2", "fma"), 8), (("avx2", "fma", "avx512f"), 16), (("neon",), 4)],
)
def test_lanes_follow_from_the_features(features: tuple[str, ...], lanes: int) -> None:
    target = Target("any", "any", features, workers=2, bandwidth=30)
    assert target.lanes == lanes
    module = Module.parse("module {}")
    module.set_attribute("mk.target", target.attribute())
    fields = module.operation.attributes["mk.target"].fields
    assert fields["lanes"] == lanes and fields["features"] == ",".join(features)


# -------------------------------------------------------------------------------------------------------------- linker


def test_an_object_becomes_a_library(tmp_path: Path) -> None:
    module = Module.parse("""llvm.func @answer(%x: i32) -> i32 {
      %c = llvm.mlir.constant(2 : i32) : i32
      %y = llvm.mul %x, %c : i32
      llvm.return %y : i32
    }""")
    target = find_target()
    library, error = native.link_object(module.emit_object(target.cpu, target.llvm_features))
    assert library is not None, error
    path = tmp_path / "answer.so"
    path.write_bytes(library)
    assert ctypes.CDLL(str(path)).answer(21) == 42


def test_a_broken_object_is_an_error() -> None:
    for _ in range(2):  # and the linker can be used again
        library, error = native.link_object(b"not an object")
        assert library is None and error is not None and "error:" in error


# -------------------------------------------------------------------------------------------------------------- levels


def test_levels_mean_the_same(torch_text: str) -> None:
    """Each level down to the plan computes what the one before computes, in bfloat16 and in float32."""
    for dtype in ("bfloat16", "float32"):
        options = Options(dtype=dtype, **SMALL)
        modules = [lower_text(torch_text, options, to=level) for level in ("mk", "fused", "plan")]
        for before, after in pairwise(modules):
            # Only the new order of sums in a head and the rounding of stored activations may tell them apart.
            difference = compare(before, after, max_length=64)
            assert difference.relative < (1e-5 if dtype == "float32" else 2e-2), dtype


def test_text_of_any_level_goes_on(torch_text: str) -> None:
    options = Options(**SMALL)
    whole = str(lower_text(torch_text, options, to="plan"))
    for level in ("mk", "fused"):
        text = lower_text(torch_text, options, to=level).text(locations=True)  # names come from locations
        assert str(lower_text(text, options, to="plan")) == whole


def test_wrong_levels(torch_text: str) -> None:
    with pytest.raises(CompileError, match="unknown level mkk; there is torch, mk, fused"):
        lower_text(torch_text, to="mkk")
    text = str(lower_text(torch_text, Options(**SMALL), to="fused"))
    with pytest.raises(CompileError, match="at level fused, past mk"):
        lower_text(text, to="mk")
    with pytest.raises(CompileError, match="found no torch, mk or mk_task operation"):
        compile_text("module {}")


def test_compile_dumps_every_level(torch_text: str, tmp_path: Path) -> None:
    compiled = compile_text(torch_text, Options(dtype="float32", workers=2, **SMALL), dump=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{number}.{level}.mlir" for number, level in enumerate(LEVELS, 1)),
        "table.txt",
    }
    assert "model.layers.1.mlp" in (tmp_path / "3.fused.mlir").read_text()
    lines = (tmp_path / "table.txt").read_text().splitlines()
    assert lines[0] == f"worker 0, {compiled.arrays['counts'][0]} instructions"
    assert len(lines) == 2 + compiled.arrays["counts"].sum()


def test_manifest_is_plain_and_complete(torch_text: str) -> None:
    compiled = compile_text(torch_text, Options(workers=2, **SMALL))
    manifest, arrays = compiled.manifest, compiled.arrays
    assert json.loads(json.dumps(manifest)) == manifest
    assert compiled.code.startswith(b"\x7fELF")
    table = arrays["table"]
    assert (
        table.dtype == np.int32
        and table.shape[0] == 2
        and table.shape[2] == manifest["abi"]["instruction_words"]
    )
    assert (table[np.arange(2), arrays["counts"] - 1, 0] >= 0).all()
    assert table[..., 0].max() == len(manifest["kinds"]) - 1
    assert manifest["vocabulary"] == 160 and manifest["cache"] == {
        "layers": 2, "heads": 2, "head_dim": 16, "dtype": "bfloat16", "block": 2 * 16 * 16 * 2}  # fmt: skip
    for weight in manifest["weights"]:
        if weight["layout"] == "tiles":
            offsets = arrays[f"tile_offsets/{weight['name']}"]
            tile = 2 * manifest["target"]["lanes"] * 4 * -(-weight["shape"][1] // 2)
            assert (
                len(set(offsets)) == len(offsets)
                and 64 * offsets.max() + tile <= manifest["arenas"]["stream"]
            )
        assert weight["offset"] is not None or weight["layout"] == "tiles"
    sources = {name for weight in manifest["weights"] for name in weight["sources"]}
    assert "model.layers.1.mlp.down_proj.weight" in sources and "lm_head.weight" not in sources
    assert "model.layers.0.mlp" in " ".join(family["module"] for family in manifest["families"])
    logits = next(buffer for buffer in manifest["buffers"] if buffer["name"] == manifest["logits"])
    assert logits["shape"] == [None, 160] and logits["dtype"] == "float32" and logits["domain"] == "rows"


def test_compiling_twice_gives_the_same_bytes(torch_text: str) -> None:
    first, second = (compile_text(torch_text, Options(**SMALL)) for _ in range(2))
    assert first.manifest == second.manifest and first.code == second.code
    assert all((first.arrays[name] == second.arrays[name]).all() for name in first.arrays)


def test_a_plan_is_what_the_reference_says(torch_text: str) -> None:
    """Sampling included: the plan's sampler and the model's greedy choice agree."""
    options = Options(dtype="float32", **SMALL)
    model, plan = (lower_text(torch_text, options, to=level) for level in ("mk", "plan"))
    weights = random_weights([model], np.random.default_rng(0))
    reference, planned = (Interpreter(module, weights, 4, 64) for module in (model, plan))
    logits = reference.step([5, 6, 7], [0, 1, 0], [1, 1, 0], [1, 2])
    planned.step([5, 6, 7], [0, 1, 0], [1, 1, 0], [1, 2])
    assert planned.next is not None and (planned.next == logits.argmax(1)).all()


def test_unsupported_operator_names_its_module(torch_text: str, tmp_path: Path) -> None:
    broken = torch_text.replace("torch.aten.silu", "torch.aten.unheard_of")
    with pytest.raises(CompileError, match=r"model\.layers\.0\.mlp.*unheard_of"):
        compile_text(broken, Options(**SMALL), dump=tmp_path)
    tool = Path(__file__).resolve().parents[2] / "build" / "bin" / "mk-opt"
    if tool.exists():
        command = [tool, "--run-reproducer", "--allow-unregistered-dialect", tmp_path / "mk-reproducer.mlir"]
        replay = subprocess.run(command, capture_output=True, text=True, check=False)
        assert replay.returncode != 0 and "unheard_of" in replay.stderr
