# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Stopping at a level, looking, editing the text, and going on to a program that runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
from mk.interpret.interpreter import Interpreter
from mk.ir import Module
from models import tiny_llama

OPTIONS: dict[str, Any] = {"dtype": "float32", "max_length": 96, "max_tokens": 16, "page": 16, "split": 32,
                           "max_sequences": 3, "workers": 2}  # fmt: skip
TOKENS = [5, 77, 3, 150, 9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    tiny_llama().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def program(folder: Path) -> mk.Program:
    return mk.compile_module(folder, use_cache=False, **OPTIONS)


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return mk.lower_module(folder, to="mk", **OPTIONS).text(locations=True)


def logits(program: mk.Program, weights: Any = None) -> np.ndarray[Any, Any]:
    with program.engine(weights) as engine:
        return engine.step(TOKENS, range(5), [1] * 5)


def arrays(program: mk.Program) -> dict[str, Any]:
    """Every weight and constant, as arrays."""
    state = {name: value.numpy() for name, value in tiny_llama().state_dict().items()}
    return {**{name: state[name] for name in program.parameters()}, **program.constants}


@pytest.mark.parametrize("level", ["torch", "mk", "fused", "plan"])
def test_each_level_goes_on_to_the_same_program(folder: Path, program: mk.Program, level: str) -> None:
    module = mk.lower_module(folder, to=level, **OPTIONS)
    before = module.text(locations=True)
    model = folder if level == "torch" else program  # a program has all of it already
    again = mk.compile_ir(before, model, **(OPTIONS if level == "torch" else {}))
    # A module says how many rows there are, not whether somebody chose that.
    options = {**program.manifest["options"], "max_rows": program.manifest["sizes"]["max_rows"]}
    assert again.manifest == {**program.manifest, "options": options} and again.code == program.code
    assert again.facts == program.facts and again.source == str(folder)
    np.testing.assert_array_equal(logits(again), logits(program))
    if level == "fused":  # a module serves as well as its text, and stays as it is
        assert mk.compile_ir(module, program).code == program.code
        assert module.text(locations=True) == before


def test_an_edit_is_what_runs(program: mk.Program, text: str) -> None:
    edited, count = re.subn(r"scale = 2\.500000e-01", "scale = 5.000000e-02", text)
    assert count == 2
    found = logits(mk.compile_ir(edited, program))
    reference = Interpreter(Module.parse(edited), arrays(program), 3, 96)
    np.testing.assert_allclose(found, reference.step(TOKENS, range(5), [1] * 5, range(5)), atol=1e-4)
    assert np.abs(found - logits(program)).max() > 1e-2


def test_without_a_model_the_weights_come_from_the_caller(program: mk.Program, text: str) -> None:
    alone = mk.compile_ir(text)
    assert set(alone.parameters()) == set(arrays(program)) and alone.facts.eos_token_ids == ()
    with pytest.raises(mk.WeightError, match="does not say where its weights are"):
        alone.engine()
    np.testing.assert_array_equal(logits(alone, arrays(program)), logits(program))


def test_a_package_gives_what_is_not_in_the_module(program: mk.Program, text: str, tmp_path: Path) -> None:
    program.files = {"tokenizer.json": b"{}"}
    program.save(tmp_path / "tiny.mkp")
    again = mk.compile_ir(text, tmp_path / "tiny.mkp")
    assert (again.files, again.source) == (program.files, program.source)
    assert again.facts == program.facts and again.constants.keys() == program.constants.keys()


def test_a_plan_whose_order_was_broken_is_refused(folder: Path) -> None:
    plan = mk.lower_module(folder, to="plan", **OPTIONS).text(locations=True)
    found = re.search(r'words dense<"0x([0-9A-F]+)"> : tensor<(\d+)x(\d+)x(\d+)xi32>', plan)
    assert found is not None
    words = np.frombuffer(bytes.fromhex(found[1]), np.int32).reshape(
        [int(size) for size in found.groups()[1:]]
    )
    refused = 0
    for worker, instruction in zip(*np.nonzero(words[:, :, 4] > 0), strict=True):
        changed = words.copy()
        changed[worker, instruction, 4] = 0  # the number of its waits
        with pytest.raises(mk.CompileError, match=r"no event orders them|never") as error:
            mk.compile_ir(plan.replace(found[1], changed.tobytes().hex().upper()))
        assert "\n" not in str(error.value)
        refused += 1
    assert refused > 3


@pytest.mark.parametrize(
    ("level", "options", "message"),
    [
        ("mk", {"dtype": "bfloat16"}, "option dtype is bfloat16, but the module at level mk was made with float32"),
        ("fused", {"workers": 1}, "option workers is 1, but the module at level fused was made with 2"),
        ("fused", {"max_length": 48}, "option max_length is 48, but the module at level fused was made with 96"),
        ("fused", {"without": ["glu"]}, "at level fused was past the choice of without; give it to mk.lower_module"),
        ("fused", {"target": "x86-64-v3"}, "at level fused was past the choice of target"),
        ("fused", {"max_lenght": 48}, "unknown option max_lenght; did you mean max_length?"),
    ],
)  # fmt: skip
def test_options_that_come_too_late_are_refused(
    text: str, level: str, options: dict[str, Any], message: str
) -> None:
    module = Module.parse(text)
    if level == "fused":
        module.run("mk-fuse-pipeline")
    with pytest.raises(mk.CompileError, match=re.escape(message)):
        mk.compile_ir(module, **options)


def test_options_that_still_count_are_taken(text: str) -> None:
    sizes = mk.compile_ir(text, max_length=50, workers=1).manifest["sizes"]
    assert (sizes["max_length"], sizes["slot_pages"], sizes["max_sequences"]) == (50, 4, 3)
    fused = Module.parse(text)
    fused.run("mk-fuse-pipeline")
    assert (
        mk.compile_ir(fused, max_length=90, page=16).manifest["sizes"]["max_length"] == 90
    )  # of 96 in pages


def test_a_file_of_a_dump_goes_on(folder: Path, program: mk.Program, tmp_path: Path) -> None:
    mk.lower_module(folder, to="fused", dump=tmp_path, **OPTIONS)
    assert mk.compile_ir(tmp_path / "3.fused.mlir", program).code == program.code
    with pytest.raises(mk.CompileError, match="nothing: cannot be read as the text of a module"):
        mk.compile_ir(tmp_path / "nothing")


def test_what_is_no_module_of_a_model_is_refused(text: str) -> None:
    with pytest.raises(mk.CompileError, match=r"expected an mk\.ir\.Module, its text or .*, found int"):
        mk.compile_ir(3)  # type: ignore[arg-type]
    with pytest.raises(mk.CompileError, match=r"module:1:1: error: custom op 'mk.nothing'"):
        mk.compile_ir("mk.nothing")
    with pytest.raises(mk.CompileError, match="found no torch, mk or mk_task operation"):
        mk.compile_ir("module {}")
    with pytest.raises(mk.CompileError, match=r"mk\.compile_ir goes on from there"):
        mk.compile_module(Module.parse(text))
    module = Module.parse(text)
    module.run("mk-fuse-pipeline")
    module.run("mk-plan-pipeline")
    module.run("mk-cta-pipeline")
    with pytest.raises(
        mk.CompileError, match="at level cta; code comes from one at torch, mk, fused or plan"
    ):
        mk.compile_ir(module)


def test_going_on_needs_no_importer(program: mk.Program, text: str, tmp_path: Path) -> None:
    program.save(tmp_path / "tiny.mkp")
    (tmp_path / "mk.mlir").write_text(text)
    script = (
        "import sys, mk; mk.compile_ir(open('mk.mlir').read(), 'tiny.mkp'); "
        "assert not {'torch', 'transformers', 'mk.importer'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


def test_the_command_prints_locations_where_it_is_asked_to(folder: Path, tmp_path: Path) -> None:
    def printed(*options: str) -> str:
        command = [
            sys.executable,
            "-m",
            "mk.cli",
            "compile",
            str(folder),
            "--to=fused",
            "--dtype=float32",
            *options,
        ]
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    plain, located = printed(), printed("--locations")
    assert 'loc("model.layers.1.mlp' not in plain and 'loc("model.layers.1.mlp' in located
    assert str(Module.parse(located)) == str(Module.parse(plain))
