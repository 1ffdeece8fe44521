# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the descriptions of operations and passes say, and modules to run their examples in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIALECTS = sorted(ROOT.glob("dialects/*/*Ops.td"))
PASSES = sorted(ROOT.glob("passes/*/Passes.td"))
TARGET = '#mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>'
SIZES = (
    "#mk.options<max_tokens = 512, max_rows = 64, max_sequences = 8, max_length = 64, page = 32, split = 32>"
)
GPU = (
    '#mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 232448, '
    "in_flight = 32768>"
)
HEAD = f"module attributes {{mk.target = {TARGET}, mk.options = {SIZES}}} {{\n"
GPU_HEAD = HEAD.replace(TARGET, GPU).replace(
    "max_tokens = 512, max_rows = 64", "max_tokens = 16, max_rows = 16"
)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, without their common indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


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
        written = split_types(listed[1] if listed else re.sub(r" ((prologue|epilogue) \{|-> ).*", "", types))
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
        types = re.sub(
            r" ((prologue|epilogue) )?\{$", "", rest.rpartition(" -> ")[2] if " -> " in rest else ""
        )
        found.update(zip(names.split(", "), split_types(types.strip().strip("()")), strict=False))
    return found
