# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A pass makes the second half of the example in its description from the first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from descriptions import GPU_HEAD, HEAD, PASSES, ROOT, blocks, free_values, function, passes, results_of
from mk.ir import Module, PassError

# What the examples of the planning passes name and need not declare.
PLAN = {
    "x": "mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>",
    "u": "mk_task.buffer @u domain(tokens) offset(131072) : tensor<?x64xf32>",
    "v": "mk_task.buffer @v domain(tokens) offset(262144) : tensor<?x64xf32>",
    "y": "mk_task.buffer @y domain(tokens) offset(393216) : tensor<?x160xf32>",
    "w": "mk_task.weight @w [@w] layout(tiles) : tensor<160x64xf32>",
    "linear": """mk_task.kind @linear class(tiles) domain(tokens) units(5) segments
    [#mk_task.segment<base = 0, limit = 160, outer = 5, stride = 32, half = 16, partner = 16>] {
^bb0(%a: tensor<?x64xf32>, %b: tensor<160x64xf32>):
  %c = mk.linear %a, [%b] : (tensor<?x64xf32>, tensor<160x64xf32>) -> tensor<?x160xf32>
  mk.yield %c : tensor<?x160xf32>
}""",
    "silu": """mk_task.kind @silu class(columns) domain(tokens) units(2) segments
    [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>] {
^bb0(%a: tensor<?x64xf32>):
  %c = mk.silu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
  mk.yield %c : tensor<?x64xf32>
}""",
    "tokens": "mk_task.buffer @tokens request domain(tokens) offset(448) : tensor<?xi32>",
    "table": "mk_task.weight @table [@table] layout(rows) : tensor<160x64xf32>",
    "embed": """mk_task.kind @embed class(columns) domain(tokens) {
^bb0(%a: tensor<160x64xf32>, %b: tensor<?xi32>):
  %c = mk.embedding %a, %b : (tensor<160x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  mk.yield %c : tensor<?x64xf32>
}""",
    "a": "mk_task.family @a kind(@silu) [@x] -> [@u]",
    "b": "mk_task.family @b kind(@silu) [@u] -> [@v]",
    "c": "mk_task.family @c kind(@silu) [@v] -> [@u]",
}
ARENAS = "activations = 720896 : i64, params = 0 : i64, stream = 40960 : i64"
# Examples that are operations of a function: the types of what they use.
CODE = {
    "mk-lower-matmul": {
        "%tile": "memref<7x1x16xf32>",
        "%rows": "memref<?x7xf32>",
        "%n": "index",
        "%acc": "memref<1x1x16xf32>",
    },
    "mk-lower-cta-to-llvm": {"%context": "!mk_cta.context", "%event": "index"},
    "mk-lower-cta-to-nvvm": {"%context": "!mk_cta.context", "%event": "index", "%hint": "i1"},
    "mk-legalize-bf16": {"%x": "vector<8xbf16>", "%p": "!llvm.ptr"},
}
# What has to run before or after a pass for its example to be as short as it is.
AROUND = {
    "mk-lower-kinds": "{},canonicalize,cse",
    "mk-build-main": "{},canonicalize,cse",
    "mk-lower-matmul": "{},canonicalize,cse",
    "mk-lower-cta-to-llvm": "{},canonicalize,cse",
    "mk-lower-gpu-kinds": "{},canonicalize,cse",
    "mk-build-kernel": "{},canonicalize,cse",
    "mk-lower-cta-to-nvvm": "{},canonicalize,cse",
    "mk-verify-schedule": "mk-build-table,{}",
}
PRINTS = {"mk-print-listing", "mk-print-accesses"}  # change nothing
FOR_GPU = {flag for _, flag, text in passes() if text in (ROOT / "passes/gpu/Passes.td").read_text()} | {
    "mk-flag-buffers"
}
EVERY = {flag: text for _, flag, text in passes()}
FUSE = [flag for flag, text in EVERY.items() if "Mk_FusePass" in text.splitlines()[0]]
OTHERS = [flag for flag in EVERY if flag not in FUSE and flag not in PRINTS]


def before_and_after(flag: str) -> tuple[str, str]:
    """The two halves of a pass's example; the line between them says how they follow from each other."""
    (example,) = blocks(EVERY[flag], "mlir")
    before, after = re.split(r"^// (?:becomes|is followed by|is refused).*\n", example, flags=re.MULTILINE)
    return before, after


def whole_module(flag: str, before: str) -> str:
    """The module that an example is a part of, with what it names and does not declare."""
    head = GPU_HEAD if flag in FOR_GPU else HEAD
    if flag in CODE:
        return function(before, CODE[flag]).replace(HEAD, head)
    if "func.func" in before or "llvm.func" in before:
        return before if "torch." in before else f"{head}{before}}}"
    declared = set(
        re.findall(r"^mk_task\.(?:buffer|weight|kind|family|event) @([\w.]+)", before, re.MULTILINE)
    )
    needed: set[str] = set()
    reached = before
    while missing := set(re.findall(r"@(\w+)", reached)) & set(PLAN) - declared - needed:
        needed |= missing
        reached = "".join(PLAN[name] for name in missing)
    given = [PLAN[name] for name in PLAN if name in needed]
    body = "\n".join([*given, before])
    return f"{head}mk_task.program @step attributes {{{ARENAS}}} {{\n{body}}}\n}}"


def assert_says(output: str, expected: str) -> None:
    """The lines stand in the output in this order. Values may have other names there; `...` is any text."""
    text, at = " ".join(output.split()), 0
    names: dict[str, str] = {}
    for line in expected.splitlines():
        pattern, bound = "", []
        for piece in re.split(r"(\.\.\.|%\w+)", " ".join(line.split("//")[0].split())):
            if piece == "...":
                pattern += ".*?"
            elif piece in names:
                pattern += re.escape(names[piece]) + r"\b"
            elif piece in bound:
                pattern += f"(?P=v{piece[1:]})"
            elif piece.startswith("%"):
                pattern += rf"(?P<v{piece[1:]}>%\w+)"
                bound.append(piece)
            else:
                pattern += re.escape(piece)
        found = re.compile(pattern).search(text, at)
        assert found is not None, f"expected {line.strip()} with {names} in {text[at:]}"
        at = found.end()
        names |= {name: found["v" + name[1:]] for name in bound}


def test_every_pass_has_an_example() -> None:
    assert {flag for flag in EVERY if len(blocks(EVERY[flag], "mlir")) == 1} == {*FUSE, *OTHERS}


@pytest.mark.parametrize("flag", FUSE)
def test_examples_of_fusions_become_what_they_say(flag: str) -> None:
    before, after = before_and_after(flag)
    assert "..." not in before + after
    free = free_values(before, after)
    made = results_of(before)
    read = set(re.findall(r"%\w+", re.sub(r"^%[\w, %]+ = ", "", before, flags=re.MULTILINE)))
    unread = [name for name in made if name not in read]
    module = Module.parse(function(before, free, unread, made))
    module.run(flag)
    assert str(module) == str(Module.parse(function(after, free, unread, results_of(after))))


@pytest.mark.parametrize("flag", OTHERS)
def test_examples_of_passes_become_what_they_say(flag: str, tmp_path: Path) -> None:
    before, after = before_and_after(flag)
    assert "..." not in before
    text = whole_module(flag, before)
    if ", on one worker\n" in EVERY[flag]:
        text = text.replace("workers = 2", "workers = 1")
    module = Module.parse(text)
    pipeline = AROUND.get(flag, "{}").format(flag)
    if after.startswith("error: "):
        with pytest.raises(PassError) as refused:
            module.run(pipeline, reproducer=tmp_path / "reproducer.mlir")
        assert " ".join(after.split()) in " ".join(str(refused.value).split())
        return
    module.run(pipeline)
    assert str(module) != str(Module.parse(text))
    assert_says(str(module), after)


def test_an_example_that_says_something_else_is_noticed() -> None:
    output = "%0 = mk.silu %arg0 : t\n  mk.yield %0 : t"
    assert_says(output, "%y = mk.silu %x : t\n...\nmk.yield %y : t")
    for wrong in (
        "%y = mk.silu %x : u",
        "%y = mk.silu %x : t\nmk.yield %x : t",
        "mk.yield %y : t\n%y = mk.silu",
    ):
        with pytest.raises(AssertionError, match="expected"):
            assert_says(output, wrong)


def test_every_pass_has_a_lit_test_of_its_name() -> None:
    for flag, text in EVERY.items():
        source = next(source for source in PASSES if text in source.read_text())
        name = flag.removeprefix("mk-")
        found = [
            file
            for file in (ROOT / "test/passes" / source.parent.name).glob("*.mlir")
            if re.search(rf"RUN:.*\b{flag}\b", file.read_text())
        ]
        assert any(file.stem.startswith(name) for file in found), flag
