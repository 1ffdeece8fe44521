# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a user sees of a mistake: the right class, one line, and what to do; and the public names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_program as fake
import fake_text
import mk
import pytest


def test_every_public_name_exists_and_is_documented():
    for name in mk.__all__:
        value = getattr(mk, name)
        assert isinstance(value, str) or value.__doc__, name
    assert set(mk.__all__) <= set(dir(mk))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mk.nothing  # noqa: B018


def test_importing_mk_imports_nothing_else():
    script = "import sys, mk; print([m for m in sys.modules if m.startswith('mk.')], 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[] False"


def test_all_errors_are_mk_errors_and_input_errors_are_value_errors():
    for name in mk.errors.__dict__:
        if name.endswith("Error") or name == "DeviceStalled":
            assert issubclass(getattr(mk.errors, name), mk.MkError)
    assert issubclass(mk.InputError, ValueError) and issubclass(mk.ImportModelError, mk.CompileError)


def test_a_message_of_several_lines_becomes_one():
    assert str(mk.InputError("a: ValueError:\n    b  c\n")) == "a: ValueError: b  c"


def _step(**changes: Any) -> Callable[[], Any]:
    def call() -> None:
        with fake.program().engine() as engine:
            engine.step(**{"tokens": [1], "positions": [0], "slots": [0], **changes})

    return call


def _llm(**options: Any) -> Callable[[], Any]:
    def call() -> None:
        with mk.LLM(fake.program(files=fake_text.files())) as llm:
            llm.generate("abc", **options)

    return call


MISTAKES: list[tuple[type[Exception], Callable[[], Any]]] = [
    (mk.InputError, _step(tokens=[-1])),
    (mk.InputError, _step(tokens="text")),
    (mk.InputError, _step(positions=[[0]])),
    (mk.InputError, _step(rows=[4])),
    (mk.InputError, _llm(temperature=float("nan"))),
    (mk.InputError, _llm(max_new_tokens=0)),
    (mk.InputError, _llm(top_k=-3)),
    (mk.InputError, lambda: fake.program().engine(pool_pages=0)),
    (mk.PackageError, lambda: mk.load("nothing.mkp")),
    (mk.PackageError, lambda: mk.LLM(fake.program())),
    (mk.PackageError, lambda: fake.program(code=b"not a library").engine()),
    (mk.WeightError, lambda: fake.program().engine({})),
    (mk.WeightError, lambda: fake.program().engine("no/such/folder")),
    (mk.WeightError, lambda: fake.program().engine(5)),
    (mk.CompileError, lambda: mk.compile_module("no-such-folder")),
    (mk.CompileError, lambda: mk.compile_module("nobody/has-this-model")),
    (mk.CompileError, lambda: mk.compile_module("x", dtype="int3")),
    (mk.CompileError, lambda: mk.compile_module("x", max_lenght=5)),
]


@pytest.mark.parametrize(("kind", "call"), MISTAKES)
def test_mistakes_are_one_line(
    kind: type[Exception], call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert message and "\n" not in message
    assert len(message) < 400


def test_code_without_the_entry_is_refused():
    program = fake.program()
    program.manifest["entry"] = "other_main"
    with pytest.raises(mk.PackageError, match="no function 'other_main'"):
        program.engine()


def test_pool_too_large_for_the_machine_is_refused():
    with pytest.raises(mk.MkError, match="not enough memory"):
        fake.program().engine(pool_pages=1 << 50)
