# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whatever schedule some order of running can break, mk-verify-schedule refuses; and it refuses no planned one."""

import os
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from llama_text import Llama, Shape
from mk import schedule
from mk.compiler.driver import lower_text
from mk.compiler.options import Options

ROOT = Path(__file__).parents[2]
MK_OPT = os.environ.get("MK_OPT", ROOT / os.environ.get("MK_BUILD_DIR", "build") / "bin" / "mk-opt")
PLAN = ["--mk-infer-events", "--mk-elide-events", "--mk-build-table"]

SEGMENTS = "segments [#mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>]"
HEADER = """
module attributes {
  mk.target = #mk.target<kind = "cpu", features = "", workers = WORKERS, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
"""

# Two operators that feed each other from step to step; nothing else keeps the steps apart.
LOOP = f"""
  mk_task.program @loop attributes {{activations = 1024 : i64, stream = 1024 : i64}} {{
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.weight @w [@w] layout(tiles) {SEGMENTS} tile_offsets [0, 8] : tensor<16x16xf32>
    mk_task.kind @linear class(tiles) domain(tokens) units(2) {SEGMENTS} {{
    ^bb0(%x: tensor<?x16xf32>, %w: tensor<16x16xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x16xf32>, tensor<16x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }}
    mk_task.kind @silu class(columns) domain(tokens) units(2) {SEGMENTS} {{
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }}
    mk_task.family @product kind(@linear) [@x, @w] -> [@y]
    mk_task.family @activation kind(@silu) [@y] -> [@x]
    mk_task.task @product units(0, 1) worker(0) wait [] previous [] signal [] stream(0)
    mk_task.task @product units(1, 2) worker(1) wait [] previous [] signal [] stream(8)
    mk_task.task @activation units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @activation units(1, 2) worker(1) wait [] previous [] signal []
  }}
}}
"""

# A small decoder: its cache, attention in shares, a residual in place, memory used twice, and the next request.
DECODER = f"""
  mk_task.program @decoder attributes {{activations = 4096 : i64, stream = 2048 : i64}} {{
    mk_task.buffer @tokens request domain(tokens) offset(448) : tensor<?xi32>
    mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
    mk_task.buffer @slots request domain(tokens) offset(576) : tensor<?xi32>
    mk_task.cache @kv layer(0) : !mk.cache<1x4xf32>
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x8xf32>
    mk_task.buffer @q domain(tokens) offset(512) : tensor<?x8xf32>
    mk_task.buffer @partials domain(tokens) offset(1024) : tensor<?x24xf32>
    mk_task.buffer @largest domain(tokens) offset(512) : tensor<?x2xf32>
    mk_task.buffer @next domain(tokens) offset(2048) : tensor<?xi32>
    mk_task.weight @table [@e] layout(rows) offset(0) : tensor<8x8xf32>
    mk_task.weight @qkv [@q, @k, @v] layout(tiles) tile_offsets [0, 4] : tensor<16x8xf32>
    mk_task.weight @o [@o] layout(tiles) tile_offsets [8] : tensor<8x8xf32>
    mk_task.weight @head [@h] layout(tiles) tile_offsets [12] : tensor<8x8xf32>
    mk_task.kind @embed class(columns) domain(tokens) units(1)
        segments [#mk_task.segment<base = 0, limit = 8, outer = 1, stride = 8, half = 4, partner = 4>] {{
    ^bb0(%w: tensor<8x8xf32>, %t: tensor<?xi32>):
      %y = mk.embedding %w, %t : (tensor<8x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
      mk.yield %y : tensor<?x8xf32>
    }}
    mk_task.kind @project class(tiles) domain(tokens) units(2) {SEGMENTS} {{
    ^bb0(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>, %c: !mk.cache<1x4xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>):
      %q, %c1 = mk.linear %x, [%w] : (tensor<?x8xf32>, tensor<16x8xf32>) -> (tensor<?x8xf32>, !mk.cache<1x4xf32>)
      epilogue {{
      ^bb0(%acc: tensor<?x16xf32>):
        %a = mk.slice %acc {{offset = 0 : i64}} : (tensor<?x16xf32>) -> tensor<?x8xf32>
        %k = mk.slice %acc {{offset = 8 : i64}} : (tensor<?x16xf32>) -> tensor<?x4xf32>
        %v = mk.slice %acc {{offset = 12 : i64}} : (tensor<?x16xf32>) -> tensor<?x4xf32>
        %d = mk.kv_append %c, %k, %v, %p, %s : (!mk.cache<1x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?xi32>,
          tensor<?xi32>) -> !mk.cache<1x4xf32>
        mk.yield %a, %d : tensor<?x8xf32>, !mk.cache<1x4xf32>
      }}
      mk.yield %q, %c1 : tensor<?x8xf32>, !mk.cache<1x4xf32>
    }}
    mk_task.kind @attend class(attend) domain(tokens) units(2) {{
    ^bb0(%q: tensor<?x8xf32>, %c: !mk.cache<1x4xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>):
      %y = mk.attend %q, %c, %p, %s {{scale = 0.5 : f64, split = 16 : i64, splits = 2 : i64}}
        : (tensor<?x8xf32>, !mk.cache<1x4xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x24xf32>
      mk.yield %y : tensor<?x24xf32>
    }}
    mk_task.kind @join class(tiles) domain(tokens) units(1)
        segments [#mk_task.segment<base = 0, limit = 8, outer = 1, stride = 8, half = 4, partner = 4>] {{
    ^bb0(%partials: tensor<?x24xf32>, %p: tensor<?xi32>, %w: tensor<8x8xf32>, %x: tensor<?x8xf32>):
      %y = mk.linear %partials, [%w] : (tensor<?x24xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      prologue {{
      ^bb0(%row: tensor<?x24xf32>):
        %c = mk.combine %row, %p {{head_dim = 4 : i64, split = 16 : i64, splits = 2 : i64}}
          : (tensor<?x24xf32>, tensor<?xi32>) -> tensor<?x8xf32>
        mk.yield %c : tensor<?x8xf32>
      }} epilogue {{
      ^bb0(%acc: tensor<?x8xf32>):
        %z = mk.add %acc, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
        mk.yield %z : tensor<?x8xf32>
      }}
      mk.yield %y : tensor<?x8xf32>
    }}
    mk_task.kind @largest_of class(tiles) domain(tokens) units(1)
        segments [#mk_task.segment<base = 0, limit = 8, outer = 1, stride = 8, half = 4, partner = 4>] {{
    ^bb0(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x2xf32>
      epilogue {{
      ^bb0(%acc: tensor<?x8xf32>):
        %z = mk.argmax_partial %acc {{block = 8 : i64}} : (tensor<?x8xf32>) -> tensor<?x2xf32>
        mk.yield %z : tensor<?x2xf32>
      }}
      mk.yield %y : tensor<?x2xf32>
    }}
    mk_task.kind @reduce class(serial) domain(tokens) units(1) {{
    ^bb0(%x: tensor<?x2xf32>):
      %t = mk.argmax_reduce %x : (tensor<?x2xf32>) -> tensor<?xi32>
      mk.yield %t : tensor<?xi32>
    }}
    mk_task.kind @advance class(serial) domain(tokens) units(1) {{
    ^bb0(%t: tensor<?xi32>):
      mk.advance %t : tensor<?xi32>
      mk.yield
    }}
    mk_task.family @model.embed kind(@embed) [@table, @tokens] -> [@x]
    mk_task.family @model.qkv kind(@project) [@x, @qkv, @kv, @positions, @slots] -> [@q, @kv]
    mk_task.family @model.attend kind(@attend) [@q, @kv, @positions, @slots] -> [@partials]
    mk_task.family @model.join kind(@join) [@partials, @positions, @o, @x] -> [@x]
    mk_task.family @model.head kind(@largest_of) [@x, @head] -> [@largest]
    mk_task.family @model.reduce kind(@reduce) [@largest] -> [@next]
    mk_task.family @model.advance kind(@advance) [@next] -> []
    mk_task.task @model.embed units(0, 1) worker(1) wait [] previous [] signal []
    mk_task.task @model.qkv units(0, 1) worker(0) wait [] previous [] signal [] stream(0)
    mk_task.task @model.qkv units(1, 2) worker(1) wait [] previous [] signal [] stream(4)
    mk_task.task @model.attend units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @model.attend units(1, 2) worker(1) wait [] previous [] signal []
    mk_task.task @model.join units(0, 1) worker(LAST) wait [] previous [] signal [] stream(8)
    mk_task.task @model.head units(0, 1) worker(LAST) wait [] previous [] signal [] stream(12)
    mk_task.task @model.reduce units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @model.advance units(0, 1) worker(LAST) wait [] previous [] signal []
  }}
}}
"""


def module(body: str, workers: int) -> str:
    return (HEADER + body).replace("WORKERS", str(workers)).replace("LAST", str(workers - 1))


LLAMA = (ROOT / "test/passes/plan/Inputs/llama.mlir").read_text()
FORM = ["--mk-form-tasks", "--mk-tile", "--mk-assign-workers", "--mk-plan-memory", "--mk-plan-weights"]
PROGRAMS = {"loop": module(LOOP, 2), "decoder": module(DECODER, 2), "decoder on three": module(DECODER, 3)}


def mk_opt(text: str, *options: str, check: bool = True) -> str:
    run = subprocess.run([MK_OPT, "-", *options], input=text, capture_output=True, text=True)
    assert run.returncode in ((0,) if check else (0, 1)), run.stderr
    return run.stdout


@dataclass
class Table:
    """A planned module with the words of its table, to be changed."""

    text: str
    words: list[list[list[int]]]

    PATTERN = re.compile(r'words dense<"0x([0-9A-F]+)"> : tensor<(\d+)x(\d+)x32xi32>')
    KIND, FAMILY, BEGIN, END, WAITS, EVENT, ARRIVALS, LAG, SIGNAL, STREAM, OPERAND = (
        0,
        1,
        2,
        3,
        4,
        5,
        8,
        11,
        14,
        15,
        16,
    )

    @classmethod
    def parse(cls, text: str) -> "Table":
        found = cls.PATTERN.search(text)
        assert found
        values = [v for (v,) in struct.iter_unpack("<i", bytes.fromhex(found[1]))]
        workers, rows = int(found[2]), int(found[3])
        words = [[values[(w * rows + i) * 32 :][:32] for i in range(rows)] for w in range(workers)]
        return cls(text, words)

    def write(self) -> str:
        data = b"".join(struct.pack("<32i", *i) for worker in self.words for i in worker).hex().upper()
        return self.PATTERN.sub(lambda m: m[0].replace(m[1], data), self.text)

    def copy(self) -> "Table":
        return Table(self.text, [[list(i) for i in worker] for worker in self.words])

    def places(self) -> list[tuple[int, int]]:
        return [
            (w, i) for w, worker in enumerate(self.words) for i, x in enumerate(worker) if x[self.KIND] != -1
        ]


def without_a_wait(planned: str) -> list[str]:
    """Some ten times the program, each with a table in which one instruction has a wait less."""
    table = Table.parse(planned)
    waiting = [(w, i) for w, i in table.places() if table.words[w][i][Table.WAITS]]
    mutants = []
    for w, i in waiting[:: len(waiting) // 10]:
        mutant = table.copy()
        drop_wait(mutant.words[w][i], 0)
        mutants.append(mutant.write())
    return mutants


def drop_wait(words: list[int], wait: int) -> None:
    for field in (Table.EVENT, Table.ARRIVALS, Table.LAG):
        words[field : field + 3] = [*(words[field + k] for k in range(3) if k != wait), 0]
    words[Table.WAITS] -= 1


def change_words(table: Table) -> Iterator[tuple[str, str]]:
    """Each small change of one or two words, or of the order of two instructions."""
    T = Table
    events = {x[T.SIGNAL] for w in table.words for x in w if x[T.KIND] != -1} - {-1}
    arrivals = {e: sum(x[T.SIGNAL] == e for w in table.words for x in w) for e in events}

    for w, i in table.places():
        original = table.words[w][i]
        changes: list[tuple[str, dict[int, int]]] = []
        for k in range(original[T.WAITS]):
            changes += [
                (f"arrivals {k} {d:+}", {T.ARRIVALS + k: original[T.ARRIVALS + k] + d}) for d in (-1, 1)
            ]
            changes += [(f"lag {k}", {T.LAG + k: 1 - original[T.LAG + k]})]
            changes += [
                (f"wait {k} for event {e}", {T.EVENT + k: e, T.ARRIVALS + k: arrivals[e]})
                for e in events - {original[T.EVENT + k]}
            ]
        changes += [(f"signal {e}", {T.SIGNAL: e}) for e in (events | {-1}) - {original[T.SIGNAL]}]
        fields = [(T.BEGIN, "begin"), (T.END, "end"), (T.OPERAND, "operand")]
        fields += [(T.STREAM, "stream")] if original[T.STREAM] else []
        for field, name in fields:
            changes += [(f"{name} {d:+}", {field: original[field] + d}) for d in (-1, 1)]
        for name, change in changes:
            mutant = table.copy()
            for field, value in change.items():
                mutant.words[w][i][field] = value
            yield f"worker {w} instruction {i}: {name}", mutant.write()
            if T.SIGNAL in change:  # the same with every wait told of the new number of signals
                count = {e: sum(x[T.SIGNAL] == e for v in mutant.words for x in v) for e in events}
                for worker in mutant.words:
                    for x in worker:
                        for k in reversed(range(x[T.WAITS])):
                            x[T.ARRIVALS + k] = count[x[T.EVENT + k]]
                            if not x[T.ARRIVALS + k]:
                                drop_wait(x, k)
                yield f"worker {w} instruction {i}: {name} and arrivals", mutant.write()
        for k in range(original[T.WAITS]):
            mutant = table.copy()
            drop_wait(mutant.words[w][i], k)
            yield f"worker {w} instruction {i}: no wait {k}", mutant.write()
        if (w, i + 1) in table.places():
            mutant = table.copy()
            mutant.words[w][i : i + 2] = reversed(mutant.words[w][i : i + 2])
            yield f"worker {w} instruction {i}: swapped with the next", mutant.write()


def move_buffers(text: str) -> Iterator[tuple[str, str]]:
    """Each buffer moved onto the start or the end of another, in the plan and in the words."""
    offsets = re.findall(r"buffer @(\w+) domain\(\w+\) offset\((\d+)\)", text)
    for name, offset in offsets:
        for other, target in offsets:
            for place in {int(target), int(target) + 64} - {int(offset)}:
                if other != name:
                    moved = re.sub(rf"(buffer @{name} domain\(\w+\) offset\()\d+", rf"\g<1>{place}", text)
                    yield f"'{name}' moved to '{other}' at {place}", moved


def judge(mutants: list[str], *options: str) -> tuple[list[bool], list[schedule.Program | None]]:
    """Which of the modules the verifier accepts, and what their instructions do; one process for all."""
    named = [
        re.sub(r"mk_task\.program @\w+", f"mk_task.program @mutant{i}", m) for i, m in enumerate(mutants)
    ]
    text = "\n// -----\n".join(named)
    accepted = set(
        re.findall(
            r"mk_task\.program @(\w+)",
            mk_opt(text, *options, "--mk-verify-schedule", "--split-input-file", check=False),
        )
    )
    lines = mk_opt(text, *options, "--mk-print-accesses", "--split-input-file", check=False).splitlines()
    programs = {
        p.name: p for p in map(schedule.Program.parse, (x for x in lines if x.startswith('{"program"')))
    }
    names = [f"mutant{i}" for i in range(len(mutants))]
    return [n in accepted for n in names], [programs.get(n) for n in names]


def breaks(program: schedule.Program, reference: schedule.Program, seeds: int = 20) -> str | None:
    try:
        # Most faults show in a few random orders; all orders are needed to say that there is none.
        executor = schedule.ShuffledExecutor(program, reference)
        for seed in range(seeds):
            executor.run(seed)
        if len(program.workers) == 2:
            schedule.explore(program, reference)
    except schedule.Broken as broken:
        return str(broken)
    return None


@pytest.mark.parametrize("name", PROGRAMS)
def test_planned_schedules_are_accepted_and_never_break(name: str) -> None:
    """Before and after events are elided, every order of running ends and gives the same."""
    for options in (PLAN, ["--mk-infer-events", "--mk-build-table"]):
        [accepted], [program] = judge([PROGRAMS[name]], *options)
        assert accepted
        assert program
        assert schedule.explore(program, steps=2) > 10
        assert breaks(program, program) is None


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_schedule_that_can_break_is_refused(name: str) -> None:
    planned = mk_opt(PROGRAMS[name], *PLAN)
    reference = judge([planned])[1][0]
    assert reference
    mutants = list(change_words(Table.parse(planned)))
    verdicts = zip(mutants, *judge([text for _, text in mutants]), strict=True)
    moved = list(move_buffers(re.sub(r"\n *mk_task\.table .*", "", planned)))
    verdicts = [*verdicts, *zip(moved, *judge([text for _, text in moved], "--mk-build-table"), strict=True)]

    broken = 0
    for (what, _), accepted, program in verdicts:
        if program is None:  # the words name nothing: refused before any order matters
            assert not accepted, what
            continue
        reason = breaks(program, reference)
        assert not (accepted and reason), f"{what}: accepted, but {reason}"
        assert not (accepted and re.search(": (begin|end|operand|stream) ", what)), what
        broken += reason is not None
    assert broken > len(verdicts) // 4, f"{broken} of {len(verdicts)} mutants can break"


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_whole_model(workers: int) -> None:
    """The same for a Llama of two layers as the compiler plans it; few of its many mutants, to save time."""
    planned = mk_opt(re.sub(r"workers = \d+", f"workers = {workers}", LLAMA), *FORM, *PLAN)
    [accepted], [reference] = judge([planned])
    assert accepted
    assert reference
    assert breaks(reference, reference) is None
    waits = [len(i.waits) for worker in reference.workers for i in worker]
    assert sum(waits) <= len(waits), "more than one wait an instruction"

    mutants = list(change_words(Table.parse(planned)))[:: 4 * workers**2]
    for (what, _), accepted, program in zip(mutants, *judge([text for _, text in mutants]), strict=True):
        assert not accepted or (program and breaks(program, reference) is None), what


@pytest.mark.parametrize("workers", [4, 132])
def test_the_table_of_a_gpu(workers: int) -> None:
    """Its tiles of 4 rows, its workers, of which most have no more than one task of an operator."""
    shape = Shape(hidden=64, heads=2, ratio=2, head_dim=32, inner=96, vocabulary=160, layers=2)
    text = Llama(shape, "bf16", zeros=True).text
    planned = str(lower_text(text, Options(target="sm_90a", workers=workers), to="plan"))
    [accepted], [reference] = judge([planned])
    assert accepted
    assert reference and len(reference.workers) == workers
    executor = schedule.ShuffledExecutor(reference)
    for seed in range(5):
        executor.run(seed)

    # A hint that is missing breaks nothing, since words say that they are there; yet the table is not the proved one.
    assert not any(judge(without_a_wait(planned))[0])

    # Words that do not say so need events that order memory.
    names = re.findall(r"buffer @(\S+) flagged", planned)
    plain = [planned.replace(f"buffer @{name} flagged", f"buffer @{name}") for name in names]
    verdicts, programs = judge(plain)
    assert not any(verdicts)
    broken = sum(breaks(program, reference, seeds=3) is not None for program in programs if program)
    assert len(programs) == len(names) > 10 and broken > len(names) // 2
