# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The `mk` command with the program of fake_program.c."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import fake_program as fake
import fake_text
import pytest
from mk import __version__, cli, demo, measure, terminal
from mk.errors import MkWarning
from mk.report import report
from mk.runtime.text import Tokenizer
from safetensors.numpy import save_file
from test_llm import expected_text


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    save_file(fake.weights(), checkpoint / "model.safetensors")
    fake.program(files=fake_text.files(), source=str(checkpoint)).save(tmp_path / "fake.mkp")
    return str(tmp_path / "fake.mkp")


def mk(*arguments: str) -> int:
    """Runs the command line in this process; returns its exit status."""
    before, sys.argv = sys.argv, ["mk", *arguments]
    try:
        return cli.main()
    except SystemExit as exit:
        return int(exit.code or 0)
    finally:
        sys.argv = before


def test_run_prints_the_text(package: str, capsys: Any):
    assert mk("run", package, "-p", "abb", "-n", "12") == 0
    assert capsys.readouterr().out == expected_text([0, 1, 1], 12) + "\n"


def test_run_through_the_template(package: str, capsys: Any):
    assert mk("run", package, "--chat", "-p", "cab", "-n", "8") == 0
    assert capsys.readouterr().out == expected_text([8, 5, 0, 1, 9, 0], 8) + "\n"


def test_chat_remembers_what_was_said(package: str, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    lines = iter(["cab", "", "not asked any more"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert mk("chat", package, "--temperature", "0", "-n", "8") == 0
    assert capsys.readouterr().out == expected_text([8, 5, 0, 1, 9, 0], 8) + "\n"


def test_chat_forgets_the_oldest_when_it_grows_too_long(
    package: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
):
    lines = iter(["abcde" * 3, "cab", "edc", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert mk("chat", package, "--temperature", "0", "-n", "4") == 0
    # The first exchange alone is 15 letters and four special tokens, of the 28 that leave room for an answer.
    tokens = fake.expected_tokens([8, 5, 0, 1, 9, 0], 4)
    assert (
        Tokenizer(fake_text.files()).decode(tokens[: [*tokens, 9].index(9)]) + "\n" in capsys.readouterr().out
    )


def test_chat_goes_on_after_a_line_that_is_too_long(
    package: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
):
    lines = iter(["cab", "b" * 40, "de", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert mk("chat", package, "--temperature", "0", "-n", "4") == 0
    captured = capsys.readouterr()
    first = expected_text([8, 5, 0, 1, 9, 0], 4)
    # As if the long line had not been: the first exchange, which a room of 28 holds, is still remembered.
    history = Tokenizer(fake_text.files()).encode(f"<s>cab</s><s>{first}</s><s>de</s>a")
    assert captured.out == f"{first}\n{expected_text(history, 4)}\n"
    assert captured.err.startswith("mk: the prompt has 43 tokens") and captured.err.count("\n") == 1


def test_chat_refuses_a_wrong_option_before_it_asks(
    package: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail("asked"))
    assert mk("chat", package, "--top-p", "2") == 1
    assert capsys.readouterr().err.startswith("mk: top_p must be")


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mk.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore it
    )


def test_ctrl_c_ends_run_with_130_and_what_it_has(package: str, tmp_path: Path):
    save_file(fake.weights(microseconds=100_000), tmp_path / "checkpoint" / "model.safetensors")
    command = start("run", package, "-p", "abb", "-n", "25")
    assert command.stdout is not None
    first = command.stdout.read(1)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    whole = expected_text([0, 1, 1], 25)
    assert (command.returncode, err) == (130, "") and out.endswith("\n")
    assert whole.startswith(first + out[:-1]) and len(out) < len(whole)


def test_ctrl_c_before_the_first_token_is_130_too(package: str, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    def interrupted(path: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mk.llm.load", interrupted)
    assert mk("run", package, "-p", "abb") == 130
    assert "bort" not in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_one_line(package: str, tmp_path: Path):
    (tmp_path / "file").touch()
    command = start("run", package, "-p", "abb", "-n", "12", XDG_CACHE_HOME=str(tmp_path / "file"))
    out, err = command.communicate(timeout=60)
    assert (command.returncode, out) == (0, expected_text([0, 1, 1], 12) + "\n")
    assert err.startswith("mk: ") and "the cache cannot be written" in err and err.count("\n") == 1


def test_warnings_of_others_keep_their_form(monkeypatch: pytest.MonkeyPatch):
    python = warnings.formatwarning
    monkeypatch.setattr(warnings, "formatwarning", python)
    terminal.one_line_warnings()
    given = (UserWarning("odd"), UserWarning, "file.py", 3)
    assert warnings.formatwarning(*given) == python(*given)
    assert warnings.formatwarning(MkWarning("odd"), MkWarning, "file.py", 3) == "mk: odd\n"


def test_explain_counts_the_table(package: str, capsys: Any):
    assert mk("explain", package) == 0
    out = capsys.readouterr().out
    assert "fake for cpu" in out and "events      2" in out and "workers, balance" in out


def test_report_counts_tiles_and_waits():
    program = fake.program()
    program.manifest["kinds"][0]["kind_class"] = "tiles"
    program.arrays["table"][:, 0, 2:5] = [[0, 1, 2], [1, 2, 1]]  # units 0..1 and 1..2; two waits and one
    found = report(program)
    assert [(w.tasks, w.waits, w.signals, w.weight_bytes) for w in found.workers] == [
        (1, 2, 0, 64),
        (1, 1, 0, 64),
    ]
    assert (found.kinds[0].tasks, found.kinds[0].units, found.kinds[0].weight_bytes, found.balance) == (
        2,
        2,
        128,
        1.0,
    )
    program.arrays["table"][0, 0, 3] = 0
    assert report(program).balance == 0.5


def test_bench_measures(package: str, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "read_bandwidth", lambda threads: 1e9)
    assert mk("bench", package, "--tokens", "8", "--prompt-tokens", "20", "--runs", "2") == 0
    assert "% of 1.0 GB/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "no-such-model", "-p", "x"),
        ("run", "PACKAGE", "-p", "x", "--top-p", "2"),
        ("explain", "nothing.mkp"),
        ("run", "PACKAGE", "-p", "a" * 40),
        ("compile", "no-such-model", "-o", "x.mkp"),
        ("compile", "x", "--dtype", "int3"),
        ("compile", "some/model-that-nobody-has", "-o", "x.mkp"),
        ("run", "PACKAGE", "-p", "a", "--weights", "nowhere"),
    ],
)
def test_errors_are_one_line(package: str, capsys: Any, arguments: tuple[str, ...]):
    assert mk(*(package if a == "PACKAGE" else a for a in arguments)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("mk: ") and captured.err.count("\n") == 1 and captured.out == ""


def test_help_is_complete_and_quick():
    began = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "mk.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - began < 3  # 0.15 s on an idle machine; this one may be busy
    for name in ("run", "chat", "compile", "explain", "bench"):
        assert f"\n  {name} " in result.stdout
    script = (
        "import sys\nsys.argv = ['mk', '--help']\nfrom mk.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'numpy', 'rich', 'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_version(capsys: Any):
    assert mk("--version") == 0
    assert capsys.readouterr().out == f"mk {__version__}\n"


@pytest.mark.parametrize("command", ["run", "chat", "compile", "explain", "bench"])
def test_every_option_is_explained(command: str, capsys: Any):
    import typer

    for parameter in typer.main.get_command(cli.app).commands[command].params:  # type: ignore[attr-defined]
        assert getattr(parameter, "help", None), parameter.name


def test_demo_ends_with_a_line_of_facts(package: str, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "read_bandwidth", lambda threads: 1e9)
    assert demo.main(["cab", "--model", package, "--max-tokens", "8"]) == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert (
        "fake.mkp | cpu , 2 workers" in lines[-1]
        and "tokens/s" in lines[-1]
        and "% of this machine's" in lines[-1]
    )
    assert expected_text([8, 5, 0, 1, 9, 0], 8) in lines


def test_demo_fails_in_one_line(capsys: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "PACKAGE", "no_such_wheel")
    assert demo.main([]) == 1
    assert "run ./dev setup" in capsys.readouterr().err
