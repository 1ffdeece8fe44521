# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tests of a GPU, test/gpu, without one: what they prepare, and that each can fail."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
from gpu_machine import GpuMachine
from mk.build import facts_of
from mk.build_function import import_sized
from mk.compiler.options import Options
from mk.runtime.gpu import driver
from torch.export import Dim

sys.path.append(str(Path(__file__).resolve().parents[1]))

from gpu import (
    cases,
    check_bits,
    check_functions,
    check_kinds,
    check_sanitizer,
    check_smollm2,
    check_stall,
    checkpoint,
    functions,
    prepare,
    run,
)
from gpu.reference import Reference
from gpu.suite import Failed, Report

SIZES = {"max_sequences": 4, "max_length": 64, "page": 16, "split": 32}
TINY = cases.Case(
    {
        "hidden_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "intermediate_size": 96,
        "vocab_size": 102,
        "num_hidden_layers": 1,
        "tie_word_embeddings": False,
    },
    options=SIZES,
    lengths={2: 35, 0: 4},
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    prepare.prepare_kinds(TINY, folder)
    return folder


@pytest.fixture(scope="module")
def reference(place: Path) -> Reference:
    return Reference.load(place / "reference.npz")


@pytest.fixture
def program(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same model for three workers, on this processor."""
    text = mk.lower_module(place, to="mk", target="sm_90a", **SIZES).text(locations=True)
    machine = GpuMachine(text, Options(target="sm_90a", workers=3, **SIZES), place)
    monkeypatch.setattr(driver, "bindings", lambda: machine.cuda)
    machine.program.constants = mk.load(place / "model.mkp").constants
    return machine.program


def test_the_package_is_for_the_gpu_and_needs_no_weights(place: Path, reference: Reference) -> None:
    program = mk.load(place / "model.mkp")
    assert program.manifest["target"]["arch"] == "sm_90a" and program.code.startswith(b"\x7fELF")
    assert set(program.parameters()) == set(reference.shapes)
    assert sum(len(step[0]) for step in reference.steps) == len(reference.exact) == 39
    assert all(len(step[0]) <= cases.TOKENS for step in reference.steps)


def test_the_checks_hold_on_this_processor(
    program: Any, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_kinds, "NEW", 5)
    with program.engine(reference.weights()) as engine:
        check_kinds.check_logits(engine, reference)
        check_kinds.check_sampling(engine, reference)
    assert "made no progress" in check_stall.check_event(program, reference, limit=0.1)["said"]
    with pytest.raises(Failed, match="ran to its end"):
        check_stall._stalls(program, program, reference, "", 0.1)


@pytest.mark.parametrize("name", check_stall.RINGS)
def test_a_program_with_a_broken_ring_differs_in_its_code_alone(name: str, place: Path) -> None:
    """What such kernels do is in test_gpu_program.py."""
    prepare.prepare_broken(TINY, place, name, check_stall.RINGS[name])
    made, right = mk.load(place / f"{name}.mkp"), mk.load(place / "model.mkp")
    assert made.code.startswith(b"\x7fELF") and len(made.code) < len(right.code)
    assert (made.arrays["table"] == right.arrays["table"]).all()
    assert made.manifest["gpu"] is not None
    assert not any(kernel["spills"] for kernel in made.manifest["gpu"]["kernels"])


# --------------------------------------------------------------------------------------------------- what must not pass


def wrong_row(exact: Any, rounding: float) -> Any:
    return np.concatenate([exact[1:2], exact[1:]])


def wrong_column(exact: Any, rounding: float) -> Any:
    found = exact.copy()
    found[-1, 7] += 0.2 * np.linalg.norm(exact[-1])
    return found


def not_a_number(exact: Any, rounding: float) -> Any:
    found = exact.copy()
    found[3, 5] = np.nan
    return found


def noise(exact: Any, size: float) -> Any:
    random = np.random.default_rng(0).standard_normal(exact.shape).astype(np.float32)
    return exact + size * random * np.linalg.norm(exact, axis=1, keepdims=True) / np.sqrt(exact.shape[1])


@pytest.mark.parametrize("change", [wrong_row, wrong_column, not_a_number, lambda e, r: noise(e, 1.6 * r)])
def test_wrong_logits_are_found(reference: Reference, change: Callable[[Any, float], Any]) -> None:
    rounding = float(reference.rounding.mean())
    reference.check(noise(reference.exact, rounding))
    with pytest.raises(Failed, match="the worst at slot"):
        reference.check(change(reference.exact, rounding))


class Counter:
    """An engine that counts: of a row's logits the next token's is the largest. `shift` is what a batch adds to all."""

    vocabulary = 50
    program = type("Program", (), {"manifest": {"sizes": {"max_sequences": 16}}})

    def __init__(self, shift: float = 0.0, skips: int = -1) -> None:
        self.shift, self.skips, self.runs = shift, skips, 0

    def reset(self, slot: int) -> None:
        pass

    def step(self, tokens: Any, positions: Any, slots: Any, rows: Any = None) -> Any:
        kept = np.arange(len(tokens)) if rows is None else np.asarray(rows)
        logits = np.full((len(kept), self.vocabulary), self.shift * len(tokens), np.float32)
        logits[np.arange(len(kept)), (np.asarray(tokens)[kept] + 1) % self.vocabulary] += 1
        return logits

    def generate(self, prompt: list[int], max_new_tokens: int, slot: int) -> list[int]:
        self.runs += 1
        return [
            (prompt[-1] + 1 + n + (self.runs == self.skips)) % self.vocabulary for n in range(max_new_tokens)
        ]


def test_bits_that_depend_on_the_run_or_the_batch_are_found() -> None:
    check_bits.check_runs(Counter(), 8)
    check_bits.check_batches(Counter(), 8)
    with pytest.raises(Failed, match="run 2 differs from run 0 at token 0"):
        check_bits.check_runs(Counter(skips=3), 8)
    with pytest.raises(Failed, match="among 1 others the tokens are the same, but logits differ"):
        check_bits.check_batches(Counter(shift=1e-6), 8)
    with pytest.raises(Failed, match="step by step differs from one launch at token 0"):
        check_bits.check_batches(Counter(skips=1), 8)


def test_a_token_that_has_other_bits_alone_is_found(reference: Reference) -> None:
    class Exact(Counter):
        def step(self, tokens: Any, positions: Any, slots: Any, rows: Any = None) -> Any:
            places = {}
            for _, positions_, slots_ in reference.steps:
                for key in zip(slots_.tolist(), positions_.tolist(), strict=True):
                    places[key] = len(places)
            found = [places[int(s), int(p)] for s, p in zip(slots, positions, strict=True)]
            return reference.exact[found] + np.float32(self.shift * len(tokens))

    assert check_kinds.check_logits(Exact(), reference)["tokens"] == 39
    with pytest.raises(Failed, match=r"alone, position \d+ of slot \d+ has other bits"):
        check_kinds.check_logits(Exact(shift=1e-5), reference)


def test_answers_end_where_the_choice_is_not_clear() -> None:
    assert check_smollm2.agreement([1, 2, 3], [1, 2, 3], [1.0, 1.0, 1.0], 0.05) == 3
    assert check_smollm2.agreement([1, 2, 3], [1, 9, 9], [1.0, 0.04, 1.0], 0.05) == 1
    with pytest.raises(Failed, match=r"token 1 is 9; expected 2, 0\.060 ahead"):
        check_smollm2.agreement([1, 2, 3], [1, 9, 3], [1.0, 0.06, 1.0], 0.05)


def test_parts_of_a_checkpoint(tmp_path: Path) -> None:
    parts = [tmp_path / "one", tmp_path / "two"]
    digest = hashlib.sha256(b"abcd").hexdigest()
    parts[0].write_bytes(b"ab")
    with pytest.raises(Failed, match="two: missing; carry the folders"):
        checkpoint.joined(parts, digest)
    parts[1].write_bytes(b"cd")
    assert checkpoint.joined(parts, digest) == b"abcd"
    parts[1].write_bytes(b"xx")
    with pytest.raises(Failed, match="not two parts of one file"):
        checkpoint.joined(parts, digest)


def test_weights_are_found_in_a_checkpoint_by_their_values(tmp_path: Path) -> None:
    """Under other names, with rows in another order, some of them equal."""
    from gguf import GGUFWriter

    random = np.random.default_rng(0)
    one, two = (random.standard_normal((6, 8)).astype(np.float32) for _ in range(2))
    one[4] = one[1]
    norm = random.standard_normal(8).astype(np.float32)
    writer = GGUFWriter(tmp_path / "tiny.gguf", "llama")
    for name, value in (("a.weight", one), ("b.weight", two), ("c.weight", norm)):
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    weights = {"q": one[[3, 0, 4, 5, 1, 2]], "o": two, "norm": norm}
    layout = checkpoint.find_layout(tmp_path / "tiny.gguf", weights)
    assert [tensor for tensor, _ in layout.values()] == ["a.weight", "b.weight", "c.weight"]
    checkpoint.save_layout(tmp_path / "layout.npz", layout)
    found = checkpoint.read(tmp_path / "tiny.gguf", checkpoint.load_layout(tmp_path / "layout.npz"))
    for name, value in weights.items():
        np.testing.assert_array_equal(found[name], value)
    with pytest.raises(KeyError):
        checkpoint.find_layout(tmp_path / "tiny.gguf", {"q": one + 1})


def test_precision_worse_than_the_peer_is_found() -> None:
    from gpu.check_model import compare

    exact = np.random.default_rng(1).standard_normal((20, 50)).astype(np.float32)
    assert compare(exact, noise(exact, 0.01), noise(exact, 0.02))["KL"] > 0
    for ours in (noise(exact, 0.03), np.full_like(exact, np.nan)):
        with pytest.raises(Failed, match="PyTorch's KL"):
            compare(exact, ours, noise(exact, 0.02))


def test_what_a_sanitizer_says() -> None:
    good = "========= COMPUTE-SANITIZER\n39 tokens in 8 steps\n========= ERROR SUMMARY: 0 errors\n"
    assert check_sanitizer.judge(good, 0) == {"errors": 0}
    found = good.replace("39 tokens in 8 steps", "========= Invalid __global__ read of size 4").replace(
        ": 0", ": 2"
    )
    with pytest.raises(Failed, match="2 errors: Invalid __global__ read of size 4"):
        check_sanitizer.judge(found, 0)
    with pytest.raises(Failed, match="no error summary, status 1: Device not supported"):
        check_sanitizer.judge("Device not supported\n", 1)
    for said, status in ((good, 1), (good.replace("39 tokens in 8 steps", "nothing"), 0)):
        with pytest.raises(Failed, match=f"the program ended with {status}"):
            check_sanitizer.judge(said, status)


SCRIPTS = {
    "good": ("report.attempt('one', lambda: {'x': 1.5})", [True], ""),
    "bad": (
        "report.attempt('one', require, False, 'why'); report.attempt('two', dict)",
        [False, True],
        "why",
    ),
    "error": ("report.attempt('one', int, 'x')", [False], "ValueError: invalid literal"),
    "early": (
        "report.attempt('one', dict); raise OSError('gone')",
        [True, False],
        "ended with 1 after 1 results: OS",
    ),
    "killed": ("import os; os.kill(os.getpid(), 9)", [False], "ended with -9"),
    "silent": ("pass", [False], "ended with 0 after 0 results"),
    "endless": (
        "report.attempt('one', dict); import time; time.sleep(60)",
        [True, False],
        "no end after 2 s",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_fails_in_any_way_is_a_failure(name: str, tmp_path: Path) -> None:
    body, kept, error = SCRIPTS[name]
    script = tmp_path / "check.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})\n"
        "from gpu import suite\nfrom gpu.suite import require\n\n"
        f"def checks(report, folder):\n    {body}\n\nsuite.main(checks)\n"
    )
    found = run.run(name, script, tmp_path, 2 if name == "endless" else 30)
    assert [result["ok"] for result in found] == kept
    assert error in next((result["error"] for result in found if not result["ok"]), "")


def test_a_report_goes_on_after_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.attempt("first", lambda: 1 / 0)
    report.attempt("second", lambda: {"error": 0.012345, "of": 3})
    lines = capsys.readouterr().out.splitlines()
    assert "FAILED ZeroDivisionError: division by zero" in lines[0] and "error 0.0123, of 3" in lines[1]
    assert report.failed == 1
    with report.engine("third", lambda: 1 / 0) as engine:
        assert engine is None and report.failed == 2
    closed: list[str] = []
    made = type("Engine", (), {"close": lambda self: closed.append("fourth")})()
    with report.engine("fourth", lambda: made) as engine:
        assert engine is made and not closed
    assert closed == ["fourth"] and report.failed == 2


def test_every_script_is_run() -> None:
    folder = Path(run.__file__).parent
    assert {f"check_{name}.py" for name in run.SCRIPTS} == {path.name for path in folder.glob("check_*.py")}


def test_cases_reach_what_they_are_for() -> None:
    """Three ranges of attention, rows of several chunks, a step of 16, mixed steps."""
    steps = list(cases.ragged(100, cases.LENGTHS))
    assert max(int(step[1].max()) for step in steps) > 2 * 128
    assert max(len(step[0]) for step in steps) == cases.TOKENS
    assert any(len(set(step[2].tolist())) > 2 for step in steps)
    assert {case.fields["head_dim"] for case in cases.KINDS.values()} >= {32, 64, 128, 256}
    assert max(case.fields["intermediate_size"] for case in cases.KINDS.values()) > 2 * 2048
    for case in [*cases.KINDS.values(), cases.PRECISION, cases.STEPS]:
        Options(target=prepare.TARGET, **case.options)
        assert dataclasses.replace(case).config()["architectures"]


# ---------------------------------------------------------------------------------------------------- own modules


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Where a case of `functions` was prepared, and its program for three workers on this processor."""
    return prepared("two-inputs", tmp_path_factory.mktemp("functions"))


def prepared(name: str, folder: Path) -> tuple[Path, Any]:
    functions.prepare(name, folder / name)
    case = functions.CASES[name]
    rank = len(case.shapes[0])
    dims = {0: Dim("batch"), 1: Dim("length", max=150)} if rank > 1 else {0: Dim("batch")}
    imported, options = import_sized(
        case.make().eval(),
        functions.inputs_of(case, (2, 3)[:rank]),
        tuple(dict(dims) for _ in case.columns),
        {"target": "sm_90a", "workers": 3},
        None,
    )
    machine = GpuMachine(imported.text, options, folder)
    program = dataclasses.replace(machine.program, facts=facts_of(imported))
    return folder / name, (program, machine)


def test_the_checks_of_own_modules_hold_on_this_processor(
    function: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, (program, machine) = function
    monkeypatch.setattr(driver, "bindings", lambda: machine.cuda)
    monkeypatch.setattr(check_functions, "CALLS", 1)
    answers = check_functions.Answers(place / "reference.npz")
    with mk.Function(program, answers.weights()) as f:
        assert check_functions.check_results(f, answers)["share of the error"] <= 1
        assert check_functions.check_bits(f, answers)["entries"] == 7
        assert check_functions.check_no_numbers(f, answers)["entries"] == 4
    assert mk.load(place / "model.mkp").code.startswith(b"\x7fELF")


def test_the_checks_of_calls_that_take_sides_hold_on_this_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, (program, machine) = prepared("exits", tmp_path)
    monkeypatch.setattr(driver, "bindings", lambda: machine.cuda)
    monkeypatch.setattr(check_functions, "CALLS", 1)
    monkeypatch.setattr(check_functions, "TURNS", 1)
    answers = check_functions.Answers(place / "reference.npz")
    assert answers.together
    with mk.Function(program, answers.weights()) as f:
        assert check_functions.check_results(f, answers)["share of the error"] <= 1
        assert check_functions.check_bits(f, answers)["entries"] == sum(
            n for (n,) in functions.CASES["exits"].shapes
        )
        assert check_functions.check_sides(f, answers)["calls"] == 8
        turns = itertools.count()
        with pytest.raises(Failed, match=r"call \d has other bits behind others"):
            check_functions.check_sides(lambda x: f(x) + float(next(turns) == 10), answers)


def test_other_answers_of_an_own_module_are_noticed(function: tuple[Path, Any]) -> None:
    place, _ = function
    answers = check_functions.Answers(place / "reference.npz")
    exact = [answers._arrays[f"1/exact/{i}"] for i in range(2)]
    assert answers.check(1, exact) == 0
    for wrong in (exact[0] + 0.01, np.where(np.arange(7)[:, None] == 3, 0, exact[0]), exact[0] * np.nan):
        with pytest.raises(Failed, match="call 1, result 0: mean error"):
            answers.check(1, [wrong, exact[1]])
