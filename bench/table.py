# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The figures of a run for people: `python -m bench.table [FILE] [--readme]`.

Without FILE, the newest of bench/results. --readme puts the table into README.md, between its bench marks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.machine import describe
from bench.peer import ROOT
from bench.results import SUBJECT, Results, Spread, load, newest

README = ROOT / "README.md"
MARKS = "bench"
BEGIN, END = f"<!-- {MARKS}:begin -->", f"<!-- {MARKS}:end -->"
RIVAL = "llama.cpp"  # the targets name it


@dataclass(frozen=True)
class Row:
    """`cells` by peer; `ratio` to llama.cpp; `met` is None where there is no target."""

    label: str
    cells: dict[str, str]
    ratio: str = ""
    target: str = ""
    met: bool | None = None


def rows(results: Results) -> list[Row]:
    """Every figure that has a target, and what it is compared with."""
    s = results.settings
    short, long = (f"{s[name]}-{s[name] + s[f'after_{name}']}" for name in ("short", "long"))
    return [
        _rate(results, f"decode, context {short}, tokens/s", "decode_short", 1.25),
        _share(results, 0.88),
        _rate(results, f"decode, context {long}, tokens/s", "decode_long", 1.25),
        _rate(results, f"prefill of {s['long']} tokens, tokens/s", "prefill", 1.2),
        _seconds(results, "import of the model, s", "import", 8.0),
        _seconds(results, "compile, IR to runnable code, s", "compile", 4.0),
        _seconds(results, "warm start to first token, s", "first_token", 1.5),
        _memory(results, 1.25),
    ]


def caption(results: Results) -> str:
    """Machine, model, and how the run was made."""
    threads, peers = results.settings["threads"], results.peers
    versions = ", ".join(f"{_title(results, peer)} ({peers[peer]['version']})" for peer in peers)
    bandwidth = _spread(results.bandwidth(), lambda value: f"{value / 1e9:.1f}")
    busy = 100 * results.elsewhere().median
    return (
        f"{results.model}, greedy, {threads} threads each: {versions}. {describe(results.machine)}; read bandwidth "
        f"{bandwidth} GB/s; other processes used {busy:.0f} % of the CPU time. Medians of {len(results.rounds)} "
        f"interleaved rounds (smallest-largest), ratios within a round, {results.date}."
    )


def markdown(results: Results) -> str:
    """The table and its caption."""
    lines = (
        _header(results),
        ["---"] * len(_header(results)),
        *(_cells(results, row) for row in rows(results)),
    )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + caption(results) + "\n"


def show(results: Results) -> None:
    """The same in the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*_header(results))
    for row in rows(results):
        table.add_row(*_cells(results, row), style="red" if row.met is False else None)
    console = Console(highlight=False)
    console.width = max(console.width, 120)  # a file, or CI, says 80
    console.print(table)
    console.print(caption(results))


def put_between_marks(text: str, block: str, marks: str = MARKS) -> str:
    """`text` with `block` between its marks. Raises ValueError if it has not one of each, in order."""
    first, last = f"<!-- {marks}:begin -->", f"<!-- {marks}:end -->"
    head, begin, rest = text.partition(first)
    _, end, tail = rest.partition(last)
    if not begin or not end or first in rest or last in tail or last in head:
        raise ValueError(f"expected one {first} and after it one {last}")
    return f"{head}{first}\n{block}{last}{tail}"


def _header(results: Results) -> list[str]:
    return ["", *(_title(results, peer) for peer in results.peers), f"mk / {RIVAL}", "target", ""]


def _cells(results: Results, row: Row) -> list[str]:
    met = {None: "", True: "met", False: "missed"}[row.met]
    return [row.label, *(row.cells.get(peer, "") for peer in results.peers), row.ratio, row.target, met]


def _title(results: Results, peer: str) -> str:
    return f"{peer} {results.peers[peer]['dtype'].replace('bfloat', 'bf').replace('float', 'f')}"


def _rate(results: Results, label: str, measure: str, target: float) -> Row:
    digits = 0 if results.rate(SUBJECT, measure).median >= 500 else 1
    cells = {
        peer: _spread(results.rate(peer, measure), lambda v: f"{v:.{digits}f}") for peer in results.peers
    }
    if RIVAL not in results.peers:
        return Row(label, cells)
    ratio = results.ratio(RIVAL, measure)
    text = _spread(ratio, lambda v: f"{v:.2f}", "x")
    return Row(label, cells, text, f">= {target:g}x", ratio.median >= target)


def _share(results: Results, target: float) -> Row:
    shares = {peer: share for peer in results.peers if (share := results.share(peer)) is not None}
    cells = {peer: _spread(share, lambda v: f"{v:.2f}") for peer, share in shares.items()}
    label = "that, as a share of the read bandwidth"
    return Row(label, cells, "", f">= {target:g}", shares[SUBJECT].median >= target)


def _seconds(results: Results, label: str, name: str, target: float) -> Row:
    found = Spread.of(results.starts[name])
    return _most(label, _spread(found, lambda v: f"{v:.2f}"), found.median, target, " s")


def _memory(results: Results, target: float) -> Row:
    ratio = results.memory_ratio()
    return _most("peak memory / (packed weights + KV pool)", f"{ratio:.2f}x", ratio, target, "x")


def _most(label: str, text: str, value: float, target: float, unit: str) -> Row:
    return Row(label, {SUBJECT: text}, "", f"<= {target:g}{unit}", value <= target)


def _spread(spread: Spread, text: Callable[[float], str], unit: str = "") -> str:
    return f"{text(spread.median)}{unit} ({text(spread.low)}-{text(spread.high)})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.table", description="The figures of a run.")
    parser.add_argument("file", nargs="?", type=Path, help="a file of bench/results (default: the newest)")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    path = options.file or newest()
    if path is None:
        parser.error("bench/results is empty; run ./dev bench")
    results = load(path)
    show(results)
    if options.readme:
        README.write_text(put_between_marks(README.read_text(), markdown(results)))


if __name__ == "__main__":
    main()
