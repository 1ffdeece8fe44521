# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""mk on the CPU beside llama.cpp and PyTorch: `./dev bench`, about five minutes.

./dev bench                 measures, keeps the figures in bench/results and shows them
./dev bench --quick         two rounds of few tokens; to see that everything works, nothing is kept
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import sys
from pathlib import Path
from typing import Any

from mk.demo import find_model
from mk.runtime.native import physical_cores

from bench import machine, probes, table
from bench.peer import ROOT, Peer
from bench.results import SUBJECT, Results
from bench.rounds import Workload, rounds

LLAMA_VENV = ROOT / ".venv-bench"
SHORT_TEXT = "Once upon a time, in a small village by the sea"
LONG_TEXT = (ROOT / "LICENSE").read_text()
BUSY = 0.05  # share of the machine in other hands from which on figures are doubtful


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="mk on the CPU beside llama.cpp and PyTorch."
    )
    parser.add_argument("--model", type=Path, help="a GGUF file (default: SmolLM2-135M-Instruct)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every peer (default: 9)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each start (default: 3)")
    parser.add_argument("--peers", default="llama.cpp,PyTorch", help="beside mk (default: llama.cpp,PyTorch)")
    parser.add_argument("--quick", action="store_true", help="few rounds, few tokens, nothing is kept")
    parser.add_argument("--no-save", action="store_true", help="keep nothing")
    parser.add_argument("--readme", action="store_true", help="also put the table into README.md")
    options = parser.parse_args()
    if options.readme and (options.quick or options.no_save):
        parser.error("--readme shows figures that are kept; leave out --quick and --no-save")
    model, threads = options.model or find_model(), physical_cores()
    work = workload(model, options.quick)
    if options.quick:
        options.rounds, options.repeat, options.no_save = 2, 1, True
    names = [SUBJECT, *(name for name in options.peers.split(",") if name)]
    facts, found = measure_rounds(names, model, work, options.rounds, threads)
    starts, memory = measure_starts(model, options.repeat)
    results = Results(
        datetime.date.today().isoformat(),
        Path(model).name,
        machine.machine(),
        {
            "short": len(work.short),
            "long": len(work.long),
            "after_short": work.after_short,
            "after_long": work.after_long,
            "threads": threads,
        },
        facts,
        found,
        starts,
        memory,
    )
    table.show(results)
    if results.elsewhere().median > BUSY:
        print(f"other processes were busy: more than {100 * BUSY:.0f} %; run it again on a quiet machine")
    if not options.no_save:
        print(f"written: {results.save().relative_to(ROOT)}")
        if options.readme:
            table.README.write_text(
                table.put_between_marks(table.README.read_text(), table.markdown(results))
            )


def workload(model: Path, quick: bool) -> Workload:
    """The same token ids for every peer."""
    from mk.llm import open_program
    from mk.runtime.text import Tokenizer

    tokenizer = Tokenizer(open_program(str(model), progress=say).files)
    short, long = tokenizer.encode(SHORT_TEXT)[:8], tokenizer.encode(LONG_TEXT)[:512]
    return Workload(short, long, 16, 8) if quick else Workload(short, long)


def measure_rounds(
    names: list[str], model: Path, work: Workload, count: int, threads: int
) -> tuple[dict[str, Any], list[Any]]:
    """What every peer says about itself, and the rounds. Raises SystemExit for an unknown name."""
    commands = {
        SUBJECT: [sys.executable, "-m", "bench.peers.mk_peer", str(model)],
        "llama.cpp": [str(LLAMA_VENV / "bin/python"), "-m", "bench.peers.llama_peer", str(model),
                      str(LLAMA_VENV / "models" / f"{model.stem}.BF16.gguf"), str(threads)],
        "PyTorch": [sys.executable, "-m", "bench.peers.torch_peer", str(model), str(threads)],
    }  # fmt: skip
    found: list[Any] = []
    with contextlib.ExitStack() as stack:
        peers = []
        for name in names:
            if name not in commands:
                raise SystemExit(f"no peer '{name}'; there is: {', '.join(commands)}")
            say(f"start {name}")
            log = ROOT / ".dev" / f"bench-{name}.log"
            peers.append(stack.enter_context(Peer(name, commands[name], log)))
        say("warm up")
        for turns in rounds(peers, work, count, threads):
            found.append(turns)
            rates = ", ".join(f"{name} {turns[name]['decode_short']:.1f}" for name in names)
            same = min(values["same_tokens"] for values in turns.values())
            say(
                f"round {len(found)} of {count}: decode {rates} tokens/s; the first {same} tokens are the same"
            )
        return {peer.name: peer.facts for peer in peers}, found


def measure_starts(model: Path, repeat: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds and bytes of fresh processes."""
    starts: dict[str, list[float]] = {"import": [], "compile": [], "first_token": []}
    for index in range(repeat):
        say(f"compile without the cache, {index + 1} of {repeat}")
        compiled = probes.run("compile", str(model))
        starts["import"].append(compiled["import"])
        starts["compile"].append(compiled["compile"])
    probes.run("first_token", str(model))  # fills the cache
    for index in range(repeat + 2):
        say(f"warm start, {index + 1} of {repeat + 2}")
        starts["first_token"].append(probes.run("first_token", str(model))["seconds"])
    say("memory")
    found = probes.run("memory", str(model))
    return starts, {
        "bare": probes.bare_interpreter(),
        **{k: found[k] for k in ("peak", "weights", "pool")},
    }


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
