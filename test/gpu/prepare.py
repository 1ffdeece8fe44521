# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes what the checks on a GPU need, where there is a compiler and no GPU: `./dev gpu-test --prepare`.

Programs, and the answers of the interpreter and of Hugging Face in float32, go to .dev/gpu-test; each of its three
folders is small enough for a machine that takes 64 MiB at once, the repository included.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.util
import json
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk
import numpy as np
from mk.compiler.driver import Lowering
from mk.compiler.options import Options
from mk.ir import Module
from mk.program import Program

from gpu import cases, check_stall, checkpoint, functions, suite
from gpu.cases import Array, Case, Step
from gpu.reference import Reference, errors

TARGET = "sm_90a"
PART = 50 << 20  # bytes of the checkpoint in the first folder
ALIEN = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry mk_main() .maxntid 32 { ret; }\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./dev gpu-test --prepare", description="What the checks on a GPU need."
    )
    parser.add_argument("--to", type=Path, default=suite.FOLDER, help="folder (default: .dev/gpu-test)")
    options = parser.parse_args()
    first, second, third = (options.to / name for name in (suite.FIRST, suite.SECOND, suite.THIRD))
    for folder in (first, second, third):
        shutil.rmtree(folder, ignore_errors=True)
    for number, (name, case) in enumerate({**cases.KINDS, **cases.ARCHITECTURES}.items()):
        plain = re.sub("[^a-z0-9]+", "-", name.lower())
        place = third / "kinds" / f"{number:02}-{plain}"
        timed(name, prepare_kinds, case, place)
        if not number:
            for fault, left_out in check_stall.RINGS.items():
                timed(f"{name}, {fault}", prepare_broken, case, place, fault, left_out)
    for name, case in (("precision", cases.PRECISION), ("steps", cases.STEPS)):
        timed(name, prepare_program, case, second / name)
    for name in functions.CASES:
        timed(f"function {name}", functions.prepare, name, third / "functions" / name)
    timed("SmolLM2", prepare_smollm2, first, second)
    prepare_alien(second / "alien.cubin")
    for folder in (first, second, third):
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{folder}: {size / 2**20:.1f} MiB")


def timed(name: str, prepare: Any, *arguments: Any) -> None:
    """With a line that says how long it took."""
    began = time.perf_counter()
    prepare(*arguments)
    print(f"{name:28} {time.perf_counter() - began:5.1f} s", flush=True)


def prepare_program(case: Case, to: Path) -> Any:
    """config.json and model.mkp; returns the program."""
    to.mkdir(parents=True, exist_ok=True)
    (to / "config.json").write_text(json.dumps(case.config(), indent=1))
    program = mk.compile_module(to, target=TARGET, **case.options)
    program.save(to / "model.mkp")
    return program


def prepare_kinds(case: Case, to: Path) -> None:
    """Also reference.npz."""
    program = prepare_program(case, to)
    reference_of(case, to, program.constants).save(to / "reference.npz")


def prepare_broken(case: Case, place: Path, name: str, left_out: str) -> Program:
    """A program of the case whose kernel lacks an operation of `mk_cta`, beside the right one."""
    text = mk.lower_module(place, to="mk", target=TARGET, **case.options).text(locations=True)
    lowering = Lowering(text, Options(target=TARGET, **case.options))
    lowering.to("cta")
    kernel, count = re.subn(rf".*mk_cta\.{left_out} .*\n", "", lowering.module.text(locations=False))
    assert count, f"no mk_cta.{left_out} in the kernel"
    lowering.module = Module.parse(kernel)
    lowering.to("llvm")
    made, right = lowering.emit(), mk.load(place / "model.mkp")
    program = dataclasses.replace(right, manifest=made.manifest, arrays=made.arrays, code=made.code)
    program.save(place / f"{name}.mkp")
    return program


def reference_of(case: Case, folder: Path, constants: dict[str, Array]) -> Reference:
    """For random steps of the case, whose config.json is in the folder. `constants`: of its program."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32).eval()
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    weights = cases.made_up(shapes, seed=0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.from_numpy(weights[name]))
    steps = list(cases.ragged(case.fields["vocab_size"], case.lengths))
    exact = answers(model, steps)
    module = mk.lower_module(folder, to="plan", target=TARGET, **case.options)
    interpreter = mk.interpret.Interpreter(
        module, {**weights, **constants}, case.options["max_sequences"], case.options["max_length"]
    )
    interpreted = np.concatenate([interpreter.step(*step) for step in steps])
    return Reference(shapes, 0, steps, exact, errors(interpreted, exact), case.strays)


def answers(model: Any, steps: Sequence[Step]) -> Array:
    """Logits of every token of the steps, float32 [T, vocabulary]: each sequence in one pass."""
    import torch

    tokens, positions, slots = (np.concatenate(part) for part in zip(*steps, strict=True))
    found = np.empty((len(tokens), model.config.vocab_size), np.float32)
    for slot in np.unique(slots):
        mine = np.flatnonzero(slots == slot)
        mine = mine[np.argsort(positions[mine])]
        with torch.no_grad():
            found[mine] = model(torch.tensor(tokens[mine][None]).long()).logits[0].numpy()
    return found


def prepare_smollm2(first: Path, second: Path) -> None:
    """The program of the demo's model; its checkpoint in two parts, the package that dequantises it, and where each
    weight lies in it, so that transformers is not needed to read it; and the greedy answers of Hugging Face in float32,
    from weights rounded to bfloat16 as a program stores them."""
    from mk.demo import find_model

    path, to = find_model(), second / "smollm2"
    to.mkdir(parents=True)
    mk.compile_module(path, target=TARGET, **cases.SMOLLM2).save(to / "model.mkp")
    data = path.read_bytes()
    for folder, part in ((first, data[:PART]), (to, data[PART:])):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint").write_bytes(part)
    spec = importlib.util.find_spec("gguf")
    assert spec is not None and spec.submodule_search_locations
    ignored = shutil.ignore_patterns("__pycache__", "scripts")
    shutil.copytree(spec.submodule_search_locations[0], to / "site" / "gguf", ignore=ignored)
    opened = mk.weights.open_weights(path)
    weights = {name: np.array(opened[name], np.float32) for name in opened}
    checkpoint.save_layout(to / "layout.npz", checkpoint.find_layout(path, weights))
    about = {"name": path.name, "sha256": hashlib.sha256(data).hexdigest()}
    (to / "reference.json").write_text(json.dumps({**about, **greedy_answers(path, weights)}))


def greedy_answers(path: Path, weights: dict[str, Array]) -> dict[str, Any]:
    """`answers`, for each of PROMPTS: its `prompt` in tokens, the greedy `answer`, and the `gaps` between the two
    largest logits that each of its tokens was chosen from. `bfloat16`: the largest gap at which Hugging Face itself, in
    bfloat16 and given the same tokens, chooses another."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoConfig, LlamaForCausalLM

    state = {name: cases.rounded(value) if value.ndim == 2 else value for name, value in weights.items()}
    program = mk.compile_module(path, dtype="float32", **cases.SMOLLM2)
    tokenizer = Tokenizer.from_str(program.files["tokenizer.json"].decode())
    prompts = [tokenizer.encode(text).ids for text in cases.PROMPTS]
    with program.engine(state) as engine:  # many times faster than Hugging Face, which then has the last word
        drawn = [list(engine.generate(prompt, max_new_tokens=cases.NEW)) for prompt in prompts]
    model = LlamaForCausalLM(AutoConfig.from_pretrained(path.parent, gguf_file=path.name)).eval()
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    answers = [{"prompt": p, **judged(model, p, d)} for p, d in zip(prompts, drawn, strict=True)]
    model.to(torch.bfloat16)
    return {"answers": answers, "bfloat16": max(largest_change(model, **answer) for answer in answers)}


def largest_change(model: Any, prompt: list[int], answer: list[int], gaps: list[float]) -> float:
    """The largest of the gaps where the model, given the answer's tokens, chooses another; 0 if it never does."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer[:-1]]])).logits[0, len(prompt) - 1 :]
    chosen = logits.argmax(-1).tolist()
    return max((gap for gap, a, b in zip(gaps, chosen, answer, strict=True) if a != b), default=0.0)


def judged(model: Any, prompt: Sequence[int], drawn: Sequence[int]) -> dict[str, Any]:
    """What Hugging Face draws, reading prompt and answer in one pass: `drawn`, up to where it would go on otherwise."""
    import torch

    with torch.no_grad():
        top = model(torch.tensor([[*prompt, *drawn[:-1]]])).logits[0, len(prompt) - 1 :].topk(2)
    answer, gaps = top.indices[:, 0].tolist(), (top.values[:, 0] - top.values[:, 1]).tolist()
    same = next((n for n, (a, b) in enumerate(zip(answer, drawn, strict=True)) if a != b), len(drawn) - 1) + 1
    if same < len(drawn) and gaps[same - 1] > 1e-3:
        raise RuntimeError(
            f"token {same - 1} after {prompt}: Hugging Face draws {answer[same - 1]}, mk {drawn[same - 1]}"
        )
    return {"answer": answer[:same], "gaps": gaps[:same]}


def prepare_alien(to: Path) -> None:
    """Machine code that an H100 cannot load: of sm_80."""
    from mk.compiler import ptxas

    cubin, _ = ptxas.assemble(ALIEN, "sm_80")
    to.write_bytes(cubin)


if __name__ == "__main__":
    main()
