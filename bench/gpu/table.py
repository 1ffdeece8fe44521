# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The figures of a run on a GPU: `python -m bench.gpu.table [FILE ...] [--merge] [--readme] [--plot]`.

Without FILE, the newest of bench/results. Several files are shown as one, whose cases are each from the last file that
has it; --merge keeps that one in bench/results.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu.results import NOT_COMPILED, RIVAL, SUBJECT, Measured, Run, load, merged, newest
from bench.gpu.shapes import CASES, COMPILE_TARGETS, PACKAGES, PROMPT, Case
from bench.peer import ROOT
from bench.results import Spread
from bench.table import README, put_between_marks

MARKS = "gpu-bench"
TARGETS_ARE_FOR = "H100"  # on another GPU no target is met or missed
HEADER = ["", "floor", "mk", "share of the ceiling", "PyTorch", "PyTorch / mk", "needed", ""]
MISSED, ABSENT, MET, OPEN = "missed", "absent", "met", ""
_ORDER = [MISSED, ABSENT, MET, OPEN]


@dataclass(frozen=True)
class Row:
    """`state` is one of MISSED, ABSENT (not measured), MET, OPEN (no target); `why` says why it was not measured."""

    label: str
    floor: str = ""
    mk: str = ""
    share: str = ""
    torch: str = ""
    ratio: str = ""
    needed: str = ""
    state: str = OPEN
    why: str = ""

    def cells(self) -> list[str]:
        last = self.why if self.state == ABSENT else self.state
        return [self.label, self.floor, self.mk, self.share, self.torch, self.ratio, self.needed, last]


def rows(run: Run) -> list[Row]:
    """Every figure that has a target or stands beside one; the missed ones first."""
    cases = [run.case(name) for name in CASES if name in run.cases]
    whole = [(case, measured) for case, measured in cases if case.whole]
    found = [_decode(*each) for each in cases]
    found += [_energy(*each) for each in whole if each[1].energy]
    found += [_prefill(*each) for each in whole if _fact(each[1], "prefill")]
    found += [_load(*each) for each in whole if _fact(each[1], "load")]
    for name, package in run.compile.get("packages", {}).items():
        if name in COMPILE_TARGETS or not PACKAGES[name].measured:
            found += _compile(name, package)
    return sorted(found, key=lambda row: _ORDER.index(row.state))


def caption(run: Run) -> str:
    """The GPU, and how the run was made."""
    parts = []
    for gpu in _distinct(found.gpu for found in run.cases.values()):
        clocks = ", ".join(
            f"{gpu[key]} MHz {what}"
            for key, what in (("most_sm_mhz", "SM"), ("most_memory_mhz", "memory"))
            if key in gpu
        )
        parts.append(
            f"{gpu.get('name', 'unknown GPU')} ({gpu.get('memory_gb', '?')} GB, at most {clocks or 'unknown clocks'}, "
            f"driver {gpu.get('driver', 'unknown')})"
        )
    speeds = [
        statistics.median(samples)
        for found in run.cases.values() for turns in found.rounds for samples in turns["ceiling"] if samples
    ]  # fmt: skip
    ceiling = _text(Spread.of(speeds), 0, 1e-9) if speeds else "?"
    versions = _distinct(
        found.sides[RIVAL].get("version") for found in run.cases.values() if RIVAL in found.sides
    )
    counts = sorted({len(found.rounds) for found in run.cases.values() if found.rounds})
    notes = [
        f"{CASES[name].label}, {side}: {error[:150]}"
        for name, found in run.cases.items() for side, error in found.errors.items() if error != NOT_COMPILED
    ]  # fmt: skip
    return (
        f"bfloat16, made-up weights, context {PROMPT} unless said; {' and '.join(parts) or 'no GPU'}; read ceiling "
        f"{ceiling} GB/s, by a bulk-copy ring. PyTorch {', '.join(map(str, versions)) or 'not measured'}: fused, "
        f"compiled, replayed as a CUDA graph, without choosing a token. Floor: weights and KV cache read once at the "
        f"ceiling. "
        f"Medians of {' or '.join(map(str, counts)) or 'no'} interleaved rounds (smallest-largest), ratios within a "
        f"round, {run.date}.{''.join(f' {note}.' for note in notes)}"
    )


def markdown(run: Run) -> str:
    """The table and its caption."""
    lines = (HEADER, ["---"] * len(HEADER), *(row.cells() for row in rows(run)))
    text = "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
    return text + "\n\n" + caption(run) + "\n"


def show(run: Run) -> None:
    """The same in the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*HEADER)
    for row in rows(run):
        style = {MISSED: "red", ABSENT: "yellow"}.get(row.state, "")
        table.add_row(*(Text(cell) for cell in row.cells()), style=style)
    console = Console(highlight=False)
    console.width = max(console.width, 160)  # a file, or CI, says 80
    console.print(table)
    console.print(Text(caption(run)))


def _decode(case: Case, found: Measured) -> Row:
    mk, torch, share, ratio, floor = (
        found.milliseconds(SUBJECT), found.milliseconds(RIVAL), found.share(SUBJECT), found.ratio(), found.floor()
    )  # fmt: skip
    return Row(
        f"{case.label}, ms per step",
        f"{floor.median:.3f}" if floor else "",
        _text(mk, 3),
        _text(share, 1, 100, " %"),
        _text(torch, 3),
        _text(ratio, 2, unit="x"),
        **_judged(found, None if mk is None else mk.median, case.needed, "ms"),
    )


def _energy(case: Case, found: Measured) -> Row:
    mk, torch = found.joules(SUBJECT), found.joules(RIVAL)
    return Row(
        f"{case.label}, energy, J per token",
        mk="" if mk is None else f"{mk:.3f}",
        torch="" if torch is None else f"{torch:.3f}",
        ratio=f"{torch / mk:.2f}x" if mk and torch else "",
        **_judged(found, mk, case.joules, "J"),
    )


def _prefill(case: Case, found: Measured) -> Row:
    spread = Spread.of(found.sides[SUBJECT]["prefill"])
    label = f"{case.label}, prefill of {PROMPT} tokens, ms"
    return Row(label, mk=_text(spread, 1), **_judged(found, spread.median, case.prefill, "ms"))


def _load(case: Case, found: Measured) -> Row:
    load = found.sides[SUBJECT]["load"]
    return Row(f"{case.label}, package to engine, s", mk=f"{load['package'] + load['engine']:.2f}")


def _compile(name: str, package: dict[str, Any]) -> list[Row]:
    label = f"{name}, compile"
    if "error" in package:
        return [Row(f"{label}, s", state=ABSENT, why="does not compile")]
    found = []
    for kind, starts in (("cold", [package["cold"]]), ("warm", package["warm"])):
        seconds = [start["seconds"] for start in starts if "seconds" in start]
        if seconds:
            needed = COMPILE_TARGETS.get(name, {}).get(kind)
            spread = Spread.of(seconds)
            state = OPEN if needed is None else MET if spread.median <= needed else MISSED
            found.append(
                Row(
                    f"{label}, {kind}, s",
                    mk=_text(spread, 2),
                    needed="" if needed is None else f"<= {needed:g} s",
                    state=state,
                )
            )
    return found


def _judged(found: Measured, value: float | None, needed: float | None, unit: str) -> dict[str, str]:
    """The last fields of a row."""
    known = TARGETS_ARE_FOR in str(found.gpu.get("name"))
    text = f"<= {needed:g} {unit}" if needed is not None and known else ""
    if value is None:
        return {"needed": text, "state": ABSENT, "why": _reason(found)}
    if not text or needed is None:
        return {"needed": text, "state": OPEN}
    return {"needed": text, "state": MET if value <= needed else MISSED}


def _reason(found: Measured) -> str:
    error = found.errors.get(SUBJECT, "not measured")
    return error if error == NOT_COMPILED else "not measured"  # the caption says more


def _fact(found: Measured, name: str) -> Any:
    return found.sides.get(SUBJECT, {}).get(name)


def _text(spread: Spread | None, digits: int, factor: float = 1.0, unit: str = "") -> str:
    """Median (smallest-largest); the latter only where they differ."""
    if spread is None:
        return ""
    middle, low, high = (f"{value * factor:.{digits}f}" for value in (spread.median, spread.low, spread.high))
    return middle + unit + (f" ({low}-{high})" if low != high else "")


def _distinct(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def put_into_readme(run: Run) -> None:
    """Raises ValueError if README.md has no marks for it."""
    README.write_text(put_between_marks(README.read_text(), markdown(run), MARKS))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu.table", description="The figures of a run on a GPU."
    )
    parser.add_argument("files", nargs="*", type=Path, help="of bench/results (default: the newest)")
    parser.add_argument("--merge", action="store_true", help="keep all files as one in bench/results")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    parser.add_argument(
        "--plot", action="store_true", help="draw the plot of docs/generated; needs matplotlib"
    )
    options = parser.parse_args()
    files = options.files or [path for path in [newest()] if path is not None]
    if not files:
        parser.error("bench/results has no run on a GPU; python -m bench.gpu_decode makes one")
    try:
        run = merged([load(path) for path in files])
    except (OSError, ValueError) as error:
        parser.error(str(error))
    show(run)
    if options.merge:
        print(f"written: {run.save().relative_to(ROOT)}")
    if options.readme:
        put_into_readme(run)
    if options.plot:
        from bench.gpu.plot import draw

        print(f"written: {draw(run).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
