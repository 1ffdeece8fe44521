# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What users do that nobody plans for: leaving in the middle, damaged files, odd values."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fake_program as fake
import mk
import numpy as np
import pytest
from mk.runtime import package
from mk.runtime.text import Tokenizer
from models import tiny_llama

OPTIONS: dict[str, Any] = {"dtype": "float32", "max_length": 128, "split": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    tiny_llama().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def saved(folder: Path) -> Path:
    path = folder.parent / "tiny.mkp"
    mk.compile_module(folder, **OPTIONS).save(path)
    return path


@pytest.mark.parametrize(
    "leave", ["", "g2 = engine.generate([1]); next(g2) if False else None", "del engine"]
)
def test_a_program_may_end_in_the_middle_of_a_generation(saved: Path, leave: str) -> None:
    code = f"""
import mk
engine = mk.load({str(saved)!r}).engine()
generation = engine.generate([1, 2, 3], max_new_tokens=100)
print(next(generation))
{leave}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


LEAVE_ALONE = "next(engine.generate([1], max_new_tokens=32))"
LEAVE_OPEN = "generation = engine.generate([1], max_new_tokens=32)\nnext(generation)"
LEAVE_A_THREAD = """
import threading
threading.Thread(target={work}, daemon=True).start()
time.sleep(0.5)
"""


@pytest.mark.parametrize(
    "leave",
    [
        LEAVE_ALONE,
        LEAVE_OPEN,
        LEAVE_A_THREAD.format(work="lambda: list(engine.generate([1], max_new_tokens=32))"),
        LEAVE_A_THREAD.format(work="lambda: engine.step([1] * 32, range(32), [0] * 32)"),
    ],
    ids=["alone", "open", "thread", "step"],
)
def test_leaving_does_not_wait_for_the_rest_of_a_generation(tmp_path: Path, leave: str) -> None:
    fake.program().save(tmp_path / "fake.mkp")
    code = f"""
import sys, time
sys.path.insert(0, {str(fake.HERE)!r})
import fake_program, mk
engine = mk.load({str(tmp_path / "fake.mkp")!r}).engine(fake_program.weights(microseconds=900_000))
{leave}
print(time.monotonic())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - float(done.stdout) < 5  # all of it takes 29 s, or 7 s for the step


def test_close_ends_every_generation(saved: Path) -> None:
    engine = mk.load(saved).engine()
    first = engine.generate([1, 2, 3], max_new_tokens=100)
    next(first)
    engine.generate([1])  # never begun
    engine.close()
    assert list(first) == []
    with pytest.raises(mk.InputError, match="closed"):
        engine.generate([1])


def test_the_smallest_temperatures_are_greedy(saved: Path) -> None:
    with mk.load(saved).engine() as engine:
        greedy = list(engine.generate([1, 2, 3], max_new_tokens=8))
        for temperature in (1e-45, 1e-39, 1e-7):
            assert list(engine.generate([1, 2, 3], max_new_tokens=8, temperature=temperature)) == greedy


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    import torch

    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = value
    program = mk.compile_module(model, use_cache=False, **OPTIONS)
    with pytest.raises(
        mk.WeightError, match=r"layers.1.mlp.up_proj.weight holds a number that is not finite"
    ):
        program.engine()


@pytest.mark.parametrize(("begin", "end"), [(0, None), (1 << 18, (1 << 18) + 4096)], ids=["all", "a block"])
def test_a_damaged_cache_entry_is_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: int, end: int | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MK_CACHE", raising=False)
    program = mk.compile_module(folder, **OPTIONS)

    def answer() -> tuple[bool, list[int]]:
        with program.engine() as engine:
            return engine.warm, list(engine.generate([1, 2, 3], max_new_tokens=8))

    expected = answer()[1]
    assert answer() == (True, expected)
    (entry,) = (tmp_path / "mk" / "weights").iterdir()
    data = bytearray(entry.read_bytes())
    lost = slice(4096 + begin, len(data) if end is None else 4096 + end)  # behind the header
    assert any(data[lost])
    data[lost] = bytes(len(data[lost]))  # what a crash before the disk was written leaves
    entry.write_bytes(data)
    assert answer() == (False, expected)


def test_an_arena_of_negative_size_is_refused(saved: Path, tmp_path: Path) -> None:
    program = mk.load(saved)
    program.manifest["arenas"]["scratch"] = -4
    program.save(tmp_path / "negative.mkp")
    with pytest.raises(mk.PackageError, match="arena scratch has -4 bytes"):
        mk.load(tmp_path / "negative.mkp")


def test_a_package_without_facts_is_refused(saved: Path, tmp_path: Path) -> None:
    tensors, texts = package.read(saved)
    package.write(tmp_path / "bare.mkp", tensors, {"manifest": texts["manifest"], "source": None})
    with pytest.raises(mk.PackageError, match="it has no facts"):
        mk.load(tmp_path / "bare.mkp")


def test_stop_ids_must_be_a_sequence(saved: Path) -> None:
    with mk.load(saved).engine() as engine, pytest.raises(mk.InputError, match="stop_ids must be a sequence"):
        engine.generate([1], stop_ids=3)  # type: ignore[arg-type]


def test_text_that_is_not_unicode() -> None:
    class Backend:
        def encode(self, text: str, add_special_tokens: bool) -> Any:
            raise AssertionError("the tokenizer must not see it")

    text = Tokenizer.__new__(Tokenizer)
    text._backend = Backend()
    with pytest.raises(mk.InputError, match="not valid Unicode at character 3"):
        text.encode("caf\udce9")


def test_a_dump_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(mk.CompileError, match="cannot write the dump"):
        mk.compile_module(tiny_llama(), dump=tmp_path / "file", **OPTIONS)


@pytest.mark.parametrize("field", [{"num_attention_heads": 5}, {"num_hidden_layers": "two"}])
def test_a_config_that_transformers_refuses(folder: Path, tmp_path: Path, field: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text()) | field
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(mk.ImportModelError, match=r"cannot read config\.json") as error:
        mk.compile_module(tmp_path, **OPTIONS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read generation_config.json"),
        ("[]", "cannot read generation_config.json"),
        ('{"eos_token_id": "x"}', "eos_token_id is 'x'; expected a token id"),
        ('{"eos_token_id": [[1]]}', r"eos_token_id is \[\[1\]\]; expected a token id"),
    ],
)
def test_a_damaged_generation_config(folder: Path, tmp_path: Path, content: str, message: str) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(mk.ImportModelError, match=message):
        mk.compile_module(tmp_path, **OPTIONS)


def test_a_stop_token_outside_the_vocabulary_is_never_drawn(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, -1, 1000000]}')
    assert mk.compile_module(tmp_path, **OPTIONS).facts.eos_token_ids == (2,)
