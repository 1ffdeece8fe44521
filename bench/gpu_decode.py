# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decode on a GPU: mk beside PyTorch and beside what the GPU can read, `python -m bench.gpu_decode`.

Packages come from `python -m bench.gpu_compile`, which needs no GPU; this needs no compiler. In every round the read
ceiling is measured before, between and after the turns of mk and of PyTorch. What fails, hangs or is not compiled is
written down as such, and the rest goes on; the JSON file is written after every case.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.gpu import table
from bench.gpu.results import NOT_COMPILED, RIVAL, SIDES, SUBJECT, Measured, Run
from bench.gpu.shapes import CASES
from bench.gpu.side import Clock, Side, SideError
from bench.gpu_compile import FOLDER as PACKAGES
from bench.gpu_compile import SIDECAR
from bench.peer import ROOT
from bench.results import FOLDER

LOGS = ROOT / ".dev"
TOGETHER = 36e9  # bytes of PyTorch's models on the GPU at once: compiling them side by side saves minutes
_START, _TURN = 120.0, 60.0  # seconds that the start of mk or the ceiling, and a turn, may take
_LEAST = 20.0  # seconds that a case is not begun without


def main() -> None:
    options = arguments()
    clock = Clock(options.limit)
    sidecar = options.packages / SIDECAR
    run = Run(
        datetime.date.today().isoformat(),
        {
            "rounds": options.rounds,
            "repeat": options.repeat,
            "energy_seconds": options.energy,
            "tuned": options.tuned,
        },
        json.loads(sidecar.read_text()) if sidecar.exists() else {},
        {},
    )
    with contextlib.ExitStack() as stack:
        ceiling, gpu = start_ceiling(stack, clock)
        for group in groups(options.cases):
            with contextlib.ExitStack() as waiting:
                rivals = start_rivals(waiting, group, options, clock) if clock.left() > _LEAST else {}
                for name in group:
                    run.cases[name] = measure(name, gpu, ceiling, rivals.get(name), options, clock)
                    path = run.save(options.out)
    table.show(run)
    print(f"written: {path}")
    if options.readme:
        table.put_into_readme(run)
    if options.plot:
        from bench.gpu.plot import draw

        print(f"written: {draw(run, options.plot)}")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_decode", description="Decode on a GPU: mk, PyTorch and the read ceiling."
    )
    parser.add_argument("--cases", default=",".join(CASES), help=f"of: {', '.join(CASES)} (default: all)")
    parser.add_argument("--sides", default=",".join(SIDES), help="mk, torch or both (default: both)")
    parser.add_argument("--packages", type=Path, default=PACKAGES, help="folder (default: .dev/gpu)")
    parser.add_argument(
        "--out", type=Path, default=FOLDER, help="folder for the JSON file (default: bench/results)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side (default: 7)")
    parser.add_argument("--repeat", type=int, default=3, help="samples of a turn (default: 3)")
    parser.add_argument(
        "--energy", type=float, default=3.0, help="seconds of decoding for it; 0: none (default: 3)"
    )
    parser.add_argument("--limit", type=float, default=560, help="seconds for everything (default: 560)")
    parser.add_argument(
        "--case-limit", type=float, default=120, help="seconds for a case once torch is compiled (120)"
    )
    parser.add_argument(
        "--torch-limit", type=float, default=240, help="seconds for torch to compile (default: 240)"
    )
    parser.add_argument(
        "--tuned", action="store_true", help="let PyTorch search for faster kernels; takes minutes"
    )
    parser.add_argument(
        "--quick", action="store_true", help="two rounds of one sample; to see that everything works"
    )
    parser.add_argument("--readme", action="store_true", help="also put the table into README.md")
    parser.add_argument("--plot", type=Path, help="also draw the plot into this SVG file; needs matplotlib")
    options = parser.parse_args(given)
    for what, known in (("cases", CASES), ("sides", SIDES)):
        names = list(dict.fromkeys(name for name in getattr(options, what).split(",") if name))
        for name in names:
            if name not in known:
                parser.error(f"--{what}: no '{name}'; there is: {', '.join(known)}")
        if not names:
            parser.error(f"--{what}: none is named")
        setattr(options, what, names)
    if options.rounds < 1 or options.repeat < 1:
        parser.error("--rounds and --repeat are at least 1")
    if 0 < options.energy < 2:
        parser.error("--energy: the counter moves in jumps; give it at least 2 seconds")
    if options.quick:
        options.rounds, options.repeat = 2, 1
        options.energy = min(options.energy, 2.0)
    return options


def groups(names: list[str]) -> Iterator[list[str]]:
    """The cases in order, as many together as may be on the GPU at once."""
    group: list[str] = []
    held = 0.0
    for name in names:
        case = CASES[name]
        size = case.shape.held_bytes + case.batch * case.context * case.shape.kv_bytes + 1.5e9
        if group and held + size > TOGETHER:
            yield group
            group, held = [], 0.0
        group.append(name)
        held += size
    if group:
        yield group


def start_ceiling(stack: contextlib.ExitStack, clock: Clock) -> tuple[Side | None, dict[str, Any]]:
    """The process that measures it, None if that fails, and facts about the GPU."""
    side = stack.enter_context(Side("ceiling", command("ceiling"), LOGS / "gpu-bench-ceiling.log"))
    try:
        return side, side.ready(clock.left(_START))
    except SideError as error:
        say(f"no read ceiling: {error}")
        return None, {}


def start_rivals(
    stack: contextlib.ExitStack, group: list[str], options: argparse.Namespace, clock: Clock
) -> dict[str, Side | str]:
    """PyTorch for every case of the group, prepared, so that nothing else runs while one is measured; or why not."""
    if RIVAL not in options.sides:
        return {}
    say(f"PyTorch compiles {', '.join(group)}")
    tuned = ["tuned"] if options.tuned else []
    threads = max(len(os.sched_getaffinity(0)) // len(group), 1)
    sides = {
        name: stack.enter_context(
            Side(
                RIVAL,
                command(RIVAL, name, *tuned),
                LOGS / f"gpu-bench-torch-{name}.log",
                {"TORCHINDUCTOR_COMPILE_THREADS": str(threads)},
            )
        )
        for name in group
    }
    patience, found = Clock(clock.left(options.torch_limit)), dict[str, Side | str]()
    for name, side in sides.items():
        if side.wait(patience.left()):
            found[name] = side
        else:
            side.close()
            found[name] = "was not compiled in time"
    return found


def measure(
    name: str,
    gpu: dict[str, Any],
    ceiling: Side | None,
    rival: Side | str | None,
    options: argparse.Namespace,
    whole: Clock,
) -> Measured:
    """One case; never raises SideError. Ends `rival`."""
    case = CASES[name]
    found = Measured(datetime.date.today().isoformat(), gpu, case.read_bytes, case.batch, case.context)
    clock = Clock(whole.left(options.case_limit))
    package = options.packages / f"{case.package}.mkp"
    active: dict[str, Side] = {}
    with contextlib.ExitStack() as stack:
        if isinstance(rival, Side):
            stack.callback(rival.close)
            begin(RIVAL, rival, found, active, 1.0)
        elif RIVAL in options.sides:
            found.errors[RIVAL] = rival or "no time was left"
        if SUBJECT in options.sides:
            if not package.is_file():
                found.errors[SUBJECT] = NOT_COMPILED
            elif clock.left() < _LEAST:
                found.errors[SUBJECT] = "no time was left"
            else:
                mk = Side(
                    SUBJECT, command(SUBJECT, name, str(package.resolve())), LOGS / f"gpu-bench-mk-{name}.log"
                )
                begin(SUBJECT, stack.enter_context(mk), found, active, clock.left(_START))
        for index in range(options.rounds):
            order = [side for side in (SIDES if index % 2 == 0 else SIDES[::-1]) if side in active]
            if not order or clock.left() < 5:
                break
            found.rounds.append(one_round(order, ceiling, found, active, options.repeat, clock))
        for side in list(active):
            if options.energy and clock.left() > options.energy + 5:
                with noted(side, found, active):
                    answer = active[side].ask(
                        "energy", clock.left(options.energy + 30), seconds=options.energy
                    )
                    found.energy[side] = answer
    summary = ", ".join(
        f"{side} {spread.median:.3f} ms"
        if (spread := found.milliseconds(side))
        else f"{side}: {found.errors.get(side)}"
        for side in options.sides
    )
    say(f"{name}: {summary}")
    return found


def begin(name: str, side: Side, found: Measured, active: dict[str, Side], timeout: float) -> None:
    """Keeps what the side says about itself; it is active unless that is an error."""
    with noted(name, found, active):
        facts = side.ready(timeout)
        found.gpu = found.gpu or facts["device"]  # where the ceiling failed
        found.sides[name] = facts
        active[name] = side


def one_round(
    order: list[str],
    ceiling: Side | None,
    found: Measured,
    active: dict[str, Side],
    repeat: int,
    clock: Clock,
) -> dict[str, Any]:
    """See `Measured.rounds`; a side that fails is not in the order."""
    speeds, turns, done = [_ceiling(ceiling, clock)], {}, []
    for side in order:
        with noted(side, found, active):
            turns[side] = active[side].ask("turn", clock.left(_TURN), repeat=repeat)
            done.append(side)
            speeds.append(_ceiling(ceiling, clock))
    return {"order": done, "ceiling": speeds, **turns}


def _ceiling(side: Side | None, clock: Clock) -> list[float]:
    if side is None:
        return []
    try:
        return list(side.ask("turn", clock.left(_TURN))["bytes_per_second"])
    except SideError as error:
        say(f"no read ceiling: {error}")
        return []


@contextlib.contextmanager
def noted(side: str, found: Measured, active: dict[str, Side]) -> Iterator[None]:
    """A side that fails in the block is out, and the reason is kept."""
    try:
        yield
    except SideError as error:
        active.pop(side, None)
        found.errors[side] = str(error)
        say(f"{side}: {error}")


def command(side: str, *arguments: str) -> list[str]:
    """Of the process of a side."""
    return [sys.executable, "-m", f"bench.gpu.{side}_side", *arguments]


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
