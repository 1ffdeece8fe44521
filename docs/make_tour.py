# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Fills docs/tour.md with excerpts of a real compile; `./dev doc` calls it.

    .venv/bin/python docs/make_tour.py            write the excerpts between the markers
    .venv/bin/python docs/make_tour.py --check    fail where they differ from what the compiler makes

The model has the layer shapes of SmolLM2-135M, two layers and no weights; the target is fixed, so the text does not
depend on the machine. An excerpt shows what the compiler printed, except that `...` stands for what was left out.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mk.compiler import Options, lower_text
from mk.compiler.driver import Lowering
from mk.compiler.table import table_text
from mk.compiler.target import PORTABLE
from mk.importer import import_model
from mk.ir import Module

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tour.md"
MARKER = re.compile(r"<!-- tour:([\w-]+) -->\n.*?<!-- /tour -->", re.DOTALL)

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 2,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}
# What "auto" finds on a server core with bfloat16 products; two of them.
TARGET = (
    f'#mk.target<kind = "cpu", features = "{",".join((*PORTABLE["x86-64-v4"], "avx512bf16"))}", '
    "workers = 2, lanes = 16, bandwidth = 24>"
)
OPTIONS = Options(target="x86-64-v4", workers=2)
LAYER = "model.layers.0."
KIND = "linear_add"  # the down projection: the shortest body that shows everything
FAMILY = "model.layers.0.mlp.down_proj"


class NotFound(Exception):
    """The compiler's output no longer has what an excerpt shows: this script needs an edit."""


class Levels:
    """The text of the model at each level."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(CONFIG))
            imported = import_model(folder)
        self.torch = imported.text
        self.mk = str(lower_text(self.torch, OPTIONS, to="mk"))
        fused = lower_text(self.torch, OPTIONS, to="fused")
        fused.set_attribute("mk.target", TARGET)
        self.fused = str(fused)
        lowering = Lowering(fused.text(locations=True), OPTIONS)
        lowering.to("plan")
        self.plan = str(lowering.module)
        lowering.to("cta")
        self.cta = str(lowering.module)
        loops = Module.parse(self.cta)
        loops.run("mk-lower-matmul,canonicalize,cse")  # the last two only for the reader
        self.loops = str(loops)
        lowering.to("llvm")
        self.llvm = str(lowering.module)
        compiled = lowering.emit()
        self.manifest, self.arrays = compiled.manifest, compiled.arrays
        self.assembly = disassemble(compiled.code)


def main(arguments: list[str]) -> int:
    if platform.machine() != "x86_64":
        print("docs/tour.md: skipped, it is made on x86-64")
        return 0
    before = PAGE.read_text()
    after = fill(before, excerpts(Levels()))
    if "--check" not in arguments:
        PAGE.write_text(after)
    elif before != after:
        print("stale: docs/tour.md: run ./dev doc")
        return 1
    return 0


def fill(page: str, found: dict[str, str]) -> str:
    """The page with each marked place filled. Raises NotFound for a marker without an excerpt, or the reverse."""
    names = MARKER.findall(page)
    if sorted(names) != sorted(found):
        raise NotFound(f"the page has markers for {sorted(names)}, the script excerpts for {sorted(found)}")
    return MARKER.sub(lambda m: f"<!-- tour:{m[1]} -->\n{found[m[1]]}\n<!-- /tour -->", page)


def excerpts(levels: Levels) -> dict[str, str]:
    """Each excerpt as a fenced block, by the name of its marker."""
    kind = between(levels.plan, rf"mk_task\.kind @{KIND} ", r"\}")
    mlir = {
        "torch-norm": torch_norm(levels.torch),
        "torch-down": lines(levels.torch, lambda line: f'loc("{FAMILY}")' in line and "aten" in line),
        "mk-layer": layer(levels.mk),
        "fused-layer": layer(levels.fused),
        "plan-kind": kind,
        "plan-memory": lines(levels.plan, is_memory),
        "plan-family": lines(levels.plan, lambda line: f"mk_task.family @{FAMILY} " in line),
        "plan-tasks": lines(levels.plan, lambda line: f"mk_task.task @{FAMILY} " in line),
        "cta-body": body(between(levels.cta, rf"func\.func private @{KIND}\(", r"\}")),
        "cta-main": body(one_case(between(levels.cta, r"func\.func @mk_main\(", r"\}"))),
        "cta-loop": product_loop(between(levels.loops, rf"func\.func private @{KIND}\(", r"\}")),
        "llvm-order": ordered_accesses(between(levels.llvm, r"llvm\.func @mk_main\(", r"\}")),
    }
    table = table_text(levels.manifest, levels.arrays["table"], levels.arrays["counts"])
    found = {name: f"```mlir\n{text}\n```" for name, text in mlir.items()}
    found["plan-table"] = f"```\n{lines(table, is_of_layer)}\n```"
    found["plan-words"] = f"```\n{words(levels)}\n```"
    found["assembly"] = f"```asm\n{decode_loop(levels.assembly)}\n```"
    return found


def lines(text: str, wanted: Callable[[str], bool]) -> str:
    """The wanted lines, less their common indentation, long lists cut short."""
    return tidy([line for line in text.splitlines() if wanted(line)])


def tidy(found: list[str]) -> str:
    """The lines as one text, indented from the left margin on."""
    if not found:
        raise NotFound("an excerpt is empty")
    indent = min(len(line) - len(line.lstrip()) for line in found)
    return "\n".join(shorten(line[indent:]) for line in found)


def shorten(line: str) -> str:
    """The line with at most three places of tiles."""
    return re.sub(r"(tile_offsets \[[^,\]]*, [^,\]]*, [^,\]]*),[^\]]*\]", r"\1, ...]", line)


def between(text: str, first: str, last: str) -> str:
    """From the line that matches `first` to the next one of the same indentation that begins with `last`."""
    found: list[str] = []
    for line in text.splitlines():
        if not found and not re.match(rf"\s*{first}", line):
            continue
        found.append(line)
        indent = len(found[0]) - len(found[0].lstrip())
        if len(found) > 1 and re.match(rf"\s{{{indent}}}{last}", line):
            return tidy(found)
    raise NotFound(f"no text from {first!r} to {last!r}")


def torch_norm(text: str) -> str:
    """The operators of the first norm, without the constants that they take."""
    where = f'loc("{LAYER}input_layernorm")'
    return lines(text, lambda line: where in line and "constant" not in line and "List" not in line)


def layer(text: str) -> str:
    """Everything from the first weight of layer 0 to that of layer 1."""
    every = text.splitlines()
    begin = next(i for i, line in enumerate(every) if f"mk.weight @{LAYER}" in line)
    end = next(i for i, line in enumerate(every) if "mk.weight @model.layers.1." in line)
    return tidy(every[begin:end])


def is_memory(line: str) -> bool:
    """Whether a line declares the memory of the feed-forward half of layer 0, or the layer's cache."""
    shown = rf"({re.escape(LAYER)}(mlp\.|self_attn\.o_proj\.out)|kv0)"
    return bool(re.match(rf"\s*mk_task\.(buffer|weight|cache) @{shown}", line))


def is_of_layer(line: str) -> bool:
    """Whether a line of the listing belongs to layer 0, or names a worker."""
    return bool(re.match(rf"worker|\s*\d+  {re.escape(LAYER)}", line))


def body(function: str) -> str:
    """A function without the constants at its top."""
    every = function.splitlines()
    constants = [i for i, line in enumerate(every) if line.startswith("  %c") and "arith.constant" in line]
    if not constants:
        return function
    kept = [line for i, line in enumerate(every) if i not in constants]
    return "\n".join([*kept[:1], "  ...", *kept[1:]])


def one_case(function: str) -> str:
    """The main loop with one of its waits and one of its kinds."""
    wait = r"\n +%\d+ = arith\.cmpi sgt[^\n]*\n +scf\.if [^}]*\}"
    text = re.sub(f"({wait})(?:{wait})+", r"\1\n      ...", function)
    pattern = r"\n( +)case \d+ \{\n +func\.call @(\w+)[^}]*\}"
    kept = next((m for m in re.finditer(pattern, text) if m[2] == KIND), None)
    if kept is None:
        raise NotFound(f"mk_main does not call @{KIND}")
    shown = False

    def replace(match: re.Match[str]) -> str:
        nonlocal shown
        if match[2] == KIND:
            return match[0]
        if shown:
            return ""
        shown = True
        return f"\n{match[1]}..."

    return re.sub(pattern, replace, text)


def product_loop(function: str) -> str:
    """The loop of the product of one row: of those that hold `mk_cta.dot`, the one with the fewest accumulators."""
    every, loops = function.splitlines(), []
    for i, line in enumerate(every):
        if "scf.for" in line and "iter_args" in line:
            indent = len(line) - len(line.lstrip())
            end = next(j for j in range(i, len(every)) if every[j].startswith(" " * indent + "}"))
            if any("mk_cta.dot" in inner for inner in every[i:end]):
                loops.append((line.count("vector<"), every[i : end + 1]))
    if not loops:
        raise NotFound(f"@{KIND} has no loop of mk_cta.dot")
    return tidy(min(loops, key=lambda loop: loop[0])[1])


def ordered_accesses(function: str) -> str:
    """Every access of the main function that orders memory."""
    return lines(function, lambda line: bool(re.search(r"\b(acquire|release)\b", line)))


def words(levels: Levels) -> str:
    """The instruction of the down projection on worker 1, word by word."""
    manifest = levels.manifest
    families = [family["name"] for family in manifest["families"]]
    fields = manifest["abi"]["instruction"]
    ends = [*(field["index"] for field in fields[1:]), manifest["abi"]["instruction_words"]]
    for instruction in levels.arrays["table"][1].tolist():
        if instruction[0] >= 0 and families[instruction[1]] == FAMILY:
            rows = []
            for field, end in zip(fields, ends, strict=True):
                value = instruction[field["index"] : end]
                rows.append(f"{field['index']:3}  {field['name']:14}{' '.join(map(str, value))}")
            return "\n".join(rows)
    raise NotFound(f"worker 1 has no task of {FAMILY}")


def disassemble(code: bytes) -> str:
    """The text of one kind's machine code, by the llvm-objdump of the LLVM that made it."""
    build = Path(os.environ.get("MK_BUILD_DIR", ROOT / "build"))
    site = (build / "test" / "lit.site.cfg.py").read_text()
    tools = re.search(r'llvm_tools_dir = "(.*)"', site)
    assert tools is not None
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(code)
        file.flush()
        command = [f"{tools[1]}/llvm-objdump", "-d", "--no-show-raw-insn", "--x86-asm-syntax=intel"]
        command += [f"--disassemble-symbols={KIND}", file.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def decode_loop(assembly: str) -> str:
    """The innermost loop of the product of one row, with a label for the address that it jumps to."""
    instructions = list(parse_assembly(assembly))
    places = {address: i for i, (address, _) in enumerate(instructions)}
    loops = []
    for i, (_, text) in enumerate(instructions):
        jump = re.match(r"j\w+\s+0x([0-9a-f]+)", text)
        begin = places.get(int(jump[1], 16), i) if jump else i
        inside = [text for _, text in instructions[begin : i + 1]]
        innermost = not any(re.match(r"j\w+\s", text) for text in inside[:-1])
        if begin < i and innermost and any(text.startswith("vdpbf16ps") for text in inside):
            loops.append(inside)
    if not loops:
        raise NotFound("no loop of vdpbf16ps")
    # The fewer rows share the weights, the more of the loop is loads of weights.
    inside = max(loops, key=lambda loop: sum("zmmword" in text for text in loop) / len(loop))
    inside[-1] = re.sub(r"0x[0-9a-f]+.*", ".loop", inside[-1])
    return "\n".join([".loop:", *(f"  {text}" for text in inside)])


def parse_assembly(text: str) -> Iterator[tuple[int, str]]:
    for line in text.splitlines():
        found = re.match(r"\s*([0-9a-f]+):\s+(.*)", line)
        if found:
            yield int(found[1], 16), re.sub(r"\s+", " ", found[2]).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
