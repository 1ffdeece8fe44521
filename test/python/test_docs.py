# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The documents say what is: code runs, examples parse and become what they say, links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fake_text
import numpy as np
import pytest
from mk.ir import Module, PassError
from models import TINY, randomize, tiny_llama

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
HAND_WRITTEN = [page for page in PAGES if "generated" not in page.parts]
DIALECTS = sorted(ROOT.glob("dialects/*/*Ops.td"))
PASSES = sorted(ROOT.glob("passes/*/Passes.td"))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, without their common indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


# --------------------------------------------------------------------------------------------------------- README


def _model_folder(path: Path) -> None:
    """A tiny Llama with a tokenizer, as a Hugging Face folder."""
    tiny_llama().save_pretrained(path)
    for name, content in fake_text.files().items():
        if name == "tokenizer.json":
            tokenizer = json.loads(content)
            vocabulary = tokenizer["model"]["vocab"]
            vocabulary.update({f"x{i}": i for i in range(len(vocabulary), TINY["vocab_size"])})
            content = json.dumps(tokenizer).encode()
        (path / name).write_bytes(content)


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MK_CACHE", "0")
    monkeypatch.chdir(tmp_path)
    first, second, third = blocks((ROOT / "README.md").read_text(), "python")
    model = re.search(r'compile_module\("([^"]+)"', first)
    assert model is not None
    _model_folder(tmp_path / model[1])
    with contextlib.redirect_stdout(io.StringIO()) as out:
        names: dict[str, Any] = {}
        exec(first, names)
        exec(second, {})
        edited: dict[str, Any] = {}
        exec(third, edited)
    assert names["logits"].shape == (3, TINY["vocab_size"]) and names["logits"].dtype == np.float32
    assert len(names["tokens"]) == 16
    assert edited["text"].count("scale = 1.0e-01") == TINY["num_hidden_layers"]
    with edited["program"].engine() as engine:
        assert np.abs(engine.step([1, 2, 3], [0, 1, 2], [0, 0, 0]) - names["logits"]).max() > 1e-2
    assert "epilogue" in out.getvalue() and "'mk.add'" in out.getvalue()


def test_every_verb_and_command_of_the_documents_exists() -> None:
    script = (ROOT / "dev").read_text()
    verbs = {
        verb for group in re.findall(r"^  ([\w |-]+)\) ", script, re.MULTILINE) for verb in group.split(" | ")
    }
    cli = (ROOT / "python/mk/cli.py").read_text()
    commands = set(re.findall(r"@app\.command\((?:\"(\w+)\")?\)\ndef (\w+)", cli))
    names = {given or function for given, function in commands}
    for page in HAND_WRITTEN:
        text = page.read_text()
        assert set(re.findall(r"\./dev ([a-z-]+)", text)) <= verbs
        assert set(re.findall(r"^mk ([a-z]+)", "\n".join(blocks(text, "")), re.MULTILINE)) <= names


NAMED = {
    "Mistral": ("MistralConfig", {"sliding_window": None}),
    "Qwen2": ("Qwen2Config", {}),
    "Phi-3": ("Phi3Config", {"pad_token_id": 0}),
    "SmolLM3": ("SmolLM3Config", {"pad_token_id": 0}),
    "OLMo 2": ("Olmo2Config", {}),
}


@pytest.mark.parametrize("name", NAMED)
def test_models_that_the_readme_names_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mk
    import torch
    import transformers

    monkeypatch.setenv("MK_CACHE", "0")
    assert name in (ROOT / "README.md").read_text()
    config, options = NAMED[name]
    fields = {**TINY, "num_hidden_layers": 1, **options}
    model = randomize(transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**fields)))
    program = mk.compile_module(model, dtype="float32", max_sequences=2, max_length=64, max_tokens=32)
    ids = np.arange(3, 23)
    with program.engine() as engine:
        found = engine.step(ids, np.arange(20), np.zeros(20, int))
    wanted = model(torch.tensor(ids)[None]).logits[0].detach().numpy()
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


# ---------------------------------------------------------------------------------------------------------- pages


def _anchors(page: Path) -> set[str]:
    """GitHub's names of the headings."""
    heads = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        assert not anchor or anchor in _anchors(place), target


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = re.sub(r"<!-- tour:.*?<!-- /tour -->", "", page.read_text(), flags=re.DOTALL)
    for name in re.findall(r"`((?:dialects|passes|python|runtime|test|docs|bench|tools)/[\w./-]+)`", text):
        # What CONTRIBUTING.md invents as an example.
        assert (ROOT / name).exists() or name == "test/dialects/mk/gelu.mlir", name


def test_every_operation_and_pass_has_a_page() -> None:
    for source in DIALECTS:
        dialect = source.parent.name
        page = (ROOT / f"docs/generated/dialects/{dialect}.md").read_text()
        for name in declared(source):
            assert f"### `{dialect}.{name}`" in page, name
    page = (ROOT / "docs/generated/passes.md").read_text()
    for _, flag, _ in passes():
        assert f"### `-{flag}`" in page, flag


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the tour is made on x86-64")
def test_the_tour_is_what_the_compiler_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import make_tour

    levels = make_tour.Levels()
    page = make_tour.PAGE.read_text()
    assert page == make_tour.fill(page, make_tour.excerpts(levels)), "docs/tour.md is stale: run ./dev doc"
    # What design.md says of SmolLM2's 30 layers follows: the kinds are the same, the families grow with the layers.
    layers = make_tour.CONFIG["num_hidden_layers"]
    assert len(levels.manifest["kinds"]) == 10
    assert len(levels.manifest["families"]) == 5 * layers + 5


# ------------------------------------------------------------------------------------------- examples of the .td


def passes() -> Iterator[tuple[str, str, str]]:
    """(class, flag, description) of every pass."""
    for source in PASSES:
        for part in re.split(r"^def ", source.read_text(), flags=re.MULTILINE)[1:]:
            head = re.match(r"(\w+) : \w+<\"([\w-]+)\"", part)
            if head is not None:
                yield head[1], head[2], part


def declared(source: Path) -> list[str]:
    """The operations that a .td defines."""
    return re.findall(r"^def \w+Op : \w+<\"(\w+)\"", source.read_text(), re.MULTILINE)


def operations() -> Iterator[tuple[str, str]]:
    """(operation, example) of every example in the dialects."""
    for source in DIALECTS:
        for part in re.split(r"^(?=def |class )", source.read_text(), flags=re.MULTILINE):
            name = re.match(r"def \w+ : \w+<\"(\w+)\"", part)
            if name is not None:
                for i, example in enumerate(blocks(part, "mlir")):
                    yield f"{source.parent.name}.{name[1]}{'' if i == 0 else f'-{i}'}", example


# The types of values that an example of mk_cta uses but whose text does not print them.
CTA_TYPES = {"context": "!mk_cta.context", "i": "!mk_cta.instruction", "n": "i64"}
# Names that an example of mk_task uses and does not declare.
TASK_PREAMBLE = """
  mk_task.buffer @h domain(tokens) : tensor<?x96xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
  mk_task.weight @w [@w] layout(tiles) : tensor<64x96xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(9) segments
      [#mk_task.segment<base = 0, limit = 288, outer = 9, stride = 32, half = 16, partner = 16>] {
  ^bb0(%a: tensor<?x96xf32>, %b: tensor<64x96xf32>):
    %c = mk.linear %a, [%b] : (tensor<?x96xf32>, tensor<64x96xf32>) -> tensor<?x64xf32>
    mk.yield %c : tensor<?x64xf32>
  }
  mk_task.family @down_proj kind(@linear) [@h, @w] -> [@y]
  mk_task.event @gate_up_done arrivals(1)
  mk_task.event @down_done arrivals(1)
"""
TARGET = '#mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>'
SIZES = (
    "#mk.options<max_tokens = 512, max_rows = 64, max_sequences = 8, max_length = 64, page = 32, split = 32>"
)
HEAD = f"module attributes {{mk.target = {TARGET}, mk.options = {SIZES}}} {{\n"


def split_types(text: str) -> list[str]:
    """The types of a list, whose own commas lie in brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "<({[") - (letter in ">)}]")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [one.strip() for one in found if one.strip()]


def used(snippet: str) -> Iterator[tuple[str, str]]:
    """(value, type) of every operand, as the operations print them."""
    joined = re.sub(r"\n\s+: ", " : ", snippet)
    for line in joined.splitlines():
        operation = re.match(r"\s*(?:%[\w, %]+ = )?((?:mk|mk_cta)\.\w+|return)(.*)", line)
        if operation is None or ":" not in operation[2]:
            continue
        plain = re.sub(
            r"\{[^{}]*= [^{}]*\}|(?<=\w)\[%\w+\]", "", operation[2]
        )  # no attributes, no subscripts
        operands, _, types = plain.partition(" : ")
        listed = re.match(r"\((.*?)\) -> ", types)
        written = split_types(listed[1] if listed else re.sub(r" (prologue|epilogue) \{.*", "", types))
        yield from zip(re.findall(r"%\w+", operands), written, strict=False)


def free_values(*snippets: str) -> dict[str, str]:
    """The values that the snippets use but do not make, with their types, in the order of their first use."""
    found: dict[str, str] = {}
    for snippet in snippets:
        made = {
            name
            for line in re.findall(r"^\s*(%[\w, %]+) = ", snippet, re.MULTILINE)
            for name in line.split(", ")
        }
        made |= set(re.findall(r"(%\w+): ", snippet))
        for name, type_ in used(snippet):
            if name not in made:
                found.setdefault(name, type_)
    return found


def function(
    snippet: str, free: dict[str, str], results: Sequence[str] = (), types: Mapping[str, str] | None = None
) -> str:
    """A module with the snippet in a function that takes what is free and returns the results."""
    arguments = ", ".join(f"{name}: {type_}" for name, type_ in free.items())
    body = snippet
    given = [(types or {})[name] for name in results]
    if not re.search(r"^return", snippet, re.MULTILINE):
        body += f"return {', '.join(results)} : {', '.join(given)}\n" if results else "return\n"
    else:
        given = [type_ for name, type_ in used(snippet.splitlines()[-1])]
    arrow = f" -> ({', '.join(given)})" if given else ""
    return f"{HEAD}func.func @step({arguments}){arrow} {{\n{body}}}\n}}"


def results_of(snippet: str) -> dict[str, str]:
    """The values that the outermost operations of a snippet make, with their types."""
    found: dict[str, str] = {}
    joined = re.sub(r"\n\s+: ", " : ", snippet)
    for names, rest in re.findall(r"^(%[\w, %]+) = (.*)", joined, re.MULTILINE):
        types = re.sub(r" (prologue|epilogue) \{.*", "", rest.rpartition(" -> ")[2] if " -> " in rest else "")
        found.update(zip(names.split(", "), split_types(types.strip().strip("()")), strict=False))
    return found


EXAMPLES = dict(operations())
WITHOUT_EXAMPLE = {
    "mk.add",  # add and mul share a description, which spells the name by TableGen
    "mk.mul",
    "mk_task.table",  # its words would fill a page; the tests of mk-build-table have them
}


def test_every_operation_has_an_example() -> None:
    for source in DIALECTS:
        for name in declared(source):
            full = f"{source.parent.name}.{name}"
            assert full in EXAMPLES or full in WITHOUT_EXAMPLE, full


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_operations_parse(name: str) -> None:
    example = EXAMPLES[name]
    if name.startswith("mk_task."):
        needed = TASK_PREAMBLE if name in ("mk_task.family", "mk_task.task") else ""
        inside = example if name == "mk_task.program" else f"mk_task.program @step {{\n{needed}{example}}}\n"
        Module.parse(f"{HEAD}{inside}}}")
        return
    if name == "mk.yield":
        example = "%s = mk.silu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>\n" + example
        Module.parse(
            f"{HEAD}mk_task.program @p {{ mk_task.kind @k class(columns) domain(tokens) {{\n"
            f"^bb0(%a: tensor<?x64xf32>):\n{example}}} }} }}"
        )
        return
    free = free_values(example)
    if name.startswith("mk_cta."):
        for value in re.findall(r"%(\w+)", example):
            if f"%{value}" in CTA_TYPES or value in CTA_TYPES:
                free[f"%{value}"] = CTA_TYPES[value]
            elif not re.search(rf"^%{value} = ", example, re.MULTILINE):
                free.setdefault(f"%{value}", "index")
        made = re.findall(r"^%(\w+) = ", example, re.MULTILINE)
        free = {value: type_ for value, type_ in free.items() if value.strip("%") not in made}
    Module.parse(function(example, free))


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
    "mk-legalize-bf16": {"%x": "vector<8xbf16>", "%p": "!llvm.ptr"},
}
# What has to run before or after a pass for its example to be as short as it is.
AROUND = {
    "mk-lower-kinds": "{},canonicalize,cse",
    "mk-build-main": "{},canonicalize,cse",
    "mk-lower-matmul": "{},canonicalize,cse",
    "mk-lower-cta-to-llvm": "{},canonicalize,cse",
    "mk-verify-schedule": "mk-build-table,{}",
}
PRINTS = {"mk-print-listing", "mk-print-accesses"}  # change nothing
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
    if flag in CODE:
        return function(before, CODE[flag])
    if "func.func" in before:
        return before if "torch." in before else f"{HEAD}{before}}}"
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
    return f"{HEAD}mk_task.program @step attributes {{{ARENAS}}} {{\n{body}}}\n}}"


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
