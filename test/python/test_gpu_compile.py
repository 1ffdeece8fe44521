# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models become a kernel for a GPU, without a GPU: what is in the PTX, and what ptxas says of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llama_text import Llama, Shape
from mk.build import options_for
from mk.compiler import ptxas
from mk.compiler.driver import Lowering, compile_text
from mk.compiler.options import Options
from mk.errors import CompileError
from mk.explain import explain
from mk.importer.imported import AttentionFacts, ImportedModel, ModelFacts
from mk.ir.diagnostics import PassError
from mk.program import Program

TINY = Shape(hidden=64, heads=2, ratio=2, head_dim=32, inner=96, vocabulary=160, layers=1)
# Code is for each kind, so two layers have all of it; the numbers are those of the whole model.
MODELS = {
    "SmolLM2-135M": (Shape(576, heads=3, ratio=3, head_dim=64, inner=1536, vocabulary=49152), 30),
    "Llama-3.2-1B": (Shape(2048, heads=8, ratio=4, head_dim=64, inner=8192, vocabulary=128256), 16),
    "Llama-3.1-8B": (
        Shape(4096, heads=8, ratio=4, head_dim=128, inner=14336, vocabulary=128256, tied=False),
        32,
    ),
    "Qwen3-0.6B": (
        Shape(1024, heads=8, ratio=2, head_dim=128, inner=3072, vocabulary=151936, head_norm=True),
        28,
    ),
    "Qwen3-8B": (
        Shape(
            4096, heads=8, ratio=4, head_dim=128, inner=12288, vocabulary=151936, tied=False, head_norm=True
        ),
        36,
    ),
}
# Bytes, stores and loads together, of the kernels for up to 8 and up to 16 tokens. The aim is none: a change may lower
# these numbers, and must not raise them.
MOST_SPILLS = {
    "SmolLM2-135M": (0, 0),
    "Llama-3.2-1B": (0, 280),
    "Llama-3.1-8B": (50, 800),
    "Qwen3-0.6B": (0, 50),
    "Qwen3-8B": (
        340,
        700,
    ),  # where attention makes the key of another row of the step, which decoding never does
}
MOST_SPILLS_OF_WINDOWS, MOST_SPILLS_OF_256 = (650, 1050), (2700, 2750)


def text(shape: Shape) -> str:
    return Llama(shape, "bf16", zeros=True).text


def gpu(**options: Any) -> Options:
    return Options(**{"target": "sm_90a", **options})


@pytest.fixture(scope="module")
def ptx() -> str:
    lowering = Lowering(text(TINY), gpu(), None)
    lowering.to("llvm")
    return lowering.module.emit_object(lowering.target.cpu, lowering.target.llvm_features).decode()


def entry(ptx: str, name: str) -> str:
    return ptx.partition(f".entry {name}(")[2].partition(".entry ")[0]


# ------------------------------------------------------------------------------------------------------------ the PTX


def test_there_are_four_kernels_and_no_function(ptx: str) -> None:
    assert re.findall(r"\.entry (\w+)", ptx) == ["mk_main", "mk_main_8", "mk_pack", "mk_random"]
    assert ".func" not in ptx and ".target sm_90a" in ptx
    assert ".maxntid 384" in entry(ptx, "mk_main") and ".maxntid 256" in entry(ptx, "mk_pack")
    assert ".extern .shared .align 1024 .b8 mk_shared[]" in ptx  # its size is that of the launch


@pytest.mark.parametrize(
    "instruction",
    [
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint",
        "mbarrier.try_wait.parity.shared::cta.b64",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        "ld.acquire.gpu.global.u64",
        "red.release.gpu.global.add.u64",
        "st.release.sys.global.u64",
        "ld.global.v4",
        "ld.shared.v4",
        "cvt.rn.bf16x2.f32",
    ],
)
def test_the_kernel_has_the_instructions_it_is_built_on(ptx: str, instruction: str) -> None:
    assert instruction in entry(ptx, "mk_main")


@pytest.mark.parametrize("instruction", [".local", "call", "trap", ".f64", "atom.global", "atom.relaxed.gpu"])
def test_the_kernel_has_no_memory_of_its_own_and_leaves_nothing_to_a_library(
    ptx: str, instruction: str
) -> None:
    assert instruction not in entry(ptx, "mk_main")


def test_only_what_no_step_writes_is_read_past_the_cache(ptx: str) -> None:
    """ld.global.nc is for memory that is constant during the launch: here the table alone, a word a lane."""
    found = re.findall(r"ld\.global\.nc\S* *\t*[^;]*;", entry(ptx, "mk_main"))
    assert found and all(re.match(r"ld\.global\.nc\.u32", one) for one in found), found


# ---------------------------------------------------------------------------------------------------------- the cubin


@pytest.mark.parametrize("name", MODELS)
def test_whole_models_assemble(name: str) -> None:
    shape, _ = MODELS[name]
    compiled = compile_text(text(shape), gpu())
    assert compiled.code.startswith(b"\x7fELF") and b"mk_main" in compiled.code
    launch = compiled.manifest["gpu"]
    assert launch is not None and launch["threads"] == 384 and launch["shared"] <= 232448
    assert [kernel["tokens"] for kernel in launch["kernels"]] == [8, 16]
    for kernel, most in zip(launch["kernels"], MOST_SPILLS[name], strict=True):
        assert kernel["registers"] <= 224 and kernel["spills"] <= most


@pytest.mark.parametrize(
    "shape",
    [
        Shape(4096, heads=8, ratio=4, head_dim=128, inner=14336, vocabulary=32000, tied=False, window=1024),
        replace(TINY, layers=2, head_dim=256, window=100, softcap=50.0),
        replace(TINY, layers=2, ratio=8, head_dim=64, window=128, sinks=True),
    ],
    ids=["Mistral-7B", "heads of 256, capped", "sinks"],
)
def test_windows_caps_and_sinks_assemble(shape: Shape) -> None:
    """The layers with and without a window are two kinds of attention, and two joins of its ranges."""
    compiled = compile_text(text(shape), gpu())
    kinds = [kind["kind_class"] for kind in compiled.manifest["kinds"]]
    assert kinds.count("attend") == 2
    assert [kind["window"] for kind in compiled.manifest["kinds"] if kind["kind_class"] == "attend"] == [
        shape.window,
        0,
    ]
    launch = compiled.manifest["gpu"]
    assert launch is not None and all(kernel["registers"] <= 224 for kernel in launch["kernels"])
    most = MOST_SPILLS_OF_256 if shape.head_dim == 256 else MOST_SPILLS_OF_WINDOWS
    assert all(a["spills"] <= b for a, b in zip(launch["kernels"], most, strict=True))


# Threads of a CTA, most of its shared memory and of its spills: without `set_registers` a thread has 168 registers.
TARGETS = {
    "sm_80": (288, 166912, 700),
    "sm_89": (288, 101376, 700),
    "sm_100a": (384, 232448, 0),
    "sm_120a": (384, 101376, 80),
}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_assembles(target: str) -> None:
    """SmolLM2's shape, and by its own instructions: those before sm_90 have no bulk copies."""
    lowering = Lowering(text(MODELS["SmolLM2-135M"][0]), gpu(target=target), None)
    lowering.to("llvm")
    made = lowering.module.emit_object(lowering.target.cpu, lowering.target.llvm_features).decode()
    assert f".target {target}\n" in made
    bulk = target not in ("sm_80", "sm_89")
    for instruction in ("cp.async.bulk", "mbarrier.try_wait", "expect_tx", "fence.proxy", "setmaxnreg"):
        assert (instruction in made) == bulk, instruction
    assert ("cp.async.mbarrier.arrive.noinc" in made) != bulk
    launch = lowering.emit().manifest["gpu"]
    threads, shared, spills = TARGETS[target]
    assert launch is not None and launch["threads"] == threads and launch["shared"] <= shared
    assert all(kernel["spills"] <= spills for kernel in launch["kernels"])


def test_what_llvm_does_not_know_is_refused_in_one_line() -> None:
    lowering = Lowering(text(TINY), gpu(), None)
    lowering.to("llvm")
    with pytest.raises(PassError, match="LLVM writes no PTX for sm_130a") as error:
        lowering.module.emit_object("sm_130a", "")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("mma_bf16 = 0", "expected tensor cores that multiply bf16, found #mk.target<"),
        ("registers = 32768", "expected 64512 registers for 384 threads, found 32768"),
        ("shared = 30000", "expected shared memory for a ring of 2 slots"),
    ],
)
def test_machines_that_are_too_small_are_refused_in_one_line(fields: str, message: str) -> None:
    lowering = Lowering(text(TINY), gpu(), None)
    lowering.to("plan")
    shared = "" if "shared" in fields else "shared = 232448, "
    sizes = f"workers = 132, lanes = 2, bandwidth = 3150, {shared}in_flight = 32768, {fields}"
    lowering.module.set_attribute("mk.target", f'#mk.target<kind = "gpu", features = "sm_90a", {sizes}>')
    with pytest.raises(PassError, match=re.escape(message)) as error:
        lowering.to("cta")
    assert "\n" not in str(error.value)


def test_explain_says_what_the_assembler_says(capsys: pytest.CaptureFixture[str]) -> None:
    shape = next(iter(MODELS.values()))[0]
    compiled = compile_text(text(shape), gpu())
    launch = compiled.manifest["gpu"]
    assert launch is not None
    explain(Program(compiled.manifest, compiled.arrays, compiled.code))
    told = capsys.readouterr().out
    for kernel in launch["kernels"]:
        assert f"{kernel['name']}, up to {kernel['tokens']} tokens: {kernel['registers']} registers" in told
        assert f"a thread, {kernel['spills']} bytes of spills" in told


@pytest.mark.parametrize("name", MODELS)
def test_tables_of_whole_models_are_proved(name: str) -> None:
    """mk-plan-pipeline ends in mk-verify-schedule."""
    shape, layers = MODELS[name]
    lowering = Lowering(text(replace(shape, layers=layers)), gpu(), None)
    lowering.to("plan")
    (table,) = (op for op in lowering.module.walk() if op.name == "mk_task.table")
    workers, _, words = table.attributes["words"].shape
    assert (workers, words) == (132, 32)
    # Norms of heads take one more task a layer.
    assert (
        len(table.attributes["families"]) == (6 + shape.head_norm) * layers + 6
    )  # the embedding also in bfloat16
    assert len(table.attributes["kinds"]) == 13 + shape.head_norm


def test_code_does_not_grow_with_the_layers() -> None:
    lowered = []
    for layers in (2, 4):
        lowering = Lowering(text(replace(TINY, layers=layers)), gpu(), None)
        lowering.to("llvm")
        lowered.append(numbered(lowering.module.text(locations=False)))
    assert lowered[0] == lowered[1]


def numbered(text: str) -> str:
    """With functions named by their order: the names of kinds have numbers that they share with families."""
    names = list(dict.fromkeys(re.findall(r"func (?:\w+ )*@(\w+)", text)))
    return re.sub(r"@(\w+)", lambda m: f"@{names.index(m[1])}" if m[1] in names else m[0], text)


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float32"}, "option dtype is float32; a gpu multiplies bfloat16 only"),
        ({"max_tokens": 17}, "option max_tokens is 17; a step on a gpu has at most 16"),
        ({"max_tokens": 0}, "option max_tokens is 0; expected a whole number of at least 1"),
        ({"max_sequences": 17}, "option max_tokens is 16, less than the 17 of max_sequences"),
        ({"target": "sm_90"}, "unknown option target: sm_90; did you mean sm_90a?"),
        ({"target": "gfx942"}, "unknown option target: gfx942; there is auto, x86-64-v3, x86-64-v4, sm_80,"),
    ],
)
def test_options_that_a_gpu_cannot_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CompileError, match=re.escape(message)) as error:
        gpu(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head_dim": 80}, "'mk.attend' op expects heads of 32, 64, 128 or 256 columns"),
        ({"hidden": 80}, "is multiplied on a gpu: expected a multiple of 32 columns, found 80"),
        ({"inner": 80}, "is multiplied on a gpu: expected a multiple of 32 columns, found 80"),
    ],
)
def test_shapes_that_a_gpu_cannot_have(fields: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=re.escape(message)) as error:
        compile_text(text(replace(TINY, **fields)), gpu(), dump=tmp_path)
    assert "\n" not in str(error.value)


def test_defaults_of_a_gpu_and_of_a_cpu() -> None:
    assert (gpu().max_tokens, gpu().split, gpu().rows) == (16, 128, 16)
    assert (Options().max_tokens, Options().split, Options().rows) == (512, 256, 64)
    assert gpu(max_length=8192).split == 256
    assert gpu(max_tokens=8, split=64).attribute().startswith("#mk.options<max_tokens = 8, max_rows = 8,")


@pytest.mark.parametrize(
    ("columns", "given", "split"), [(64, {}, 256), (128, {}, 128), (64, {"split": 64}, 64)]
)
def test_ranges_of_attention_follow_from_the_heads(columns: int, given: dict[str, int], split: int) -> None:
    attention = AttentionFacts(8, 2, columns, columns, 1.0, 0, 0.0, False, "attention")
    facts = ModelFacts(100, None, 1, {0: attention}, (), None, {}, "")
    imported = ImportedModel("", {}, {}, {}, facts, None)
    assert options_for(imported, {"target": "sm_90a", **given}).split == split
    assert options_for(imported, {"target": "x86-64-v3"}).split == 256


# --------------------------------------------------------------------------------------------------------------- ptxas


def test_ptxas_is_that_of_its_package() -> None:
    """The one that requirements/ptxas.txt pins, before any that the machine may have."""
    assert re.search(r"/site-packages/nvidia/cu\d+/bin/ptxas$", str(ptxas.find_ptxas()))


def _without_package(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(ptxas.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(path))


def test_without_ptxas_a_compile_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_package(monkeypatch, tmp_path)
    with pytest.raises(
        CompileError, match="no ptxas to assemble code for a gpu: pip install nvidia-cuda-nvcc"
    ):
        ptxas.assemble("", "sm_90a")


def test_ptxas_of_a_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_package(monkeypatch, tmp_path / "path")
    for folder in ("toolkit/bin", "path"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "ptxas").write_text("#!/bin/sh\n")
        (tmp_path / folder / "ptxas").chmod(0o755)
    assert ptxas.find_ptxas() == tmp_path / "path/ptxas"
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "toolkit"))
    assert ptxas.find_ptxas() == tmp_path / "toolkit/bin/ptxas"


def test_code_that_ptxas_refuses_is_an_error_with_its_words(ptx: str) -> None:
    with pytest.raises(
        CompileError, match=r"ptxas refuses the generated code: line 3; .*near 'nonsense'"
    ) as error:
        ptxas.assemble(".version 8.5\n.target sm_90a\nnonsense\n", "sm_90a")
    assert "\n" not in str(error.value)
    with pytest.raises(CompileError, match=r"ptxas refuses the generated code: .*SM version"):
        ptxas.assemble(ptx, "sm_80")
