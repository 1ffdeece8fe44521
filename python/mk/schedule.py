# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A model of the machine that runs a table, for finding schedules that can go wrong.

It takes what `mk-print-accesses` prints, keeps for every piece of memory which task wrote it last, and lets the
workers run in any order that their waits allow. A task must find in memory what it would find if the families ran
one after the other; anything else is `Broken`. `ShuffledExecutor` tries orders at random, `explore` tries them all.
A hint comes at any time; a task that reads flagged words goes on when they are there, and what is there must be of this
step.
Nothing here knows about happens-before: that is what makes it a check of `mk-verify-schedule`.
"""

from __future__ import annotations

import bisect
import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Object:
    """Memory that tasks share: columns of their own within it, all of it with objects that share its bytes."""

    name: str
    space: int
    begin: int
    end: int
    columns: int
    flagged: bool  # words say whether they have been written, in two copies: see mk_task.buffer
    forwarded: bool  # a cache of which a step reads what was there before it

    def overlaps(self, other: Object) -> bool:
        return self.space == other.space and self.begin < other.end and other.begin < self.end


@dataclass(frozen=True)
class Access:
    object: int
    write: bool
    shares: bool  # columns are shares of the row that each step deals out anew
    early: bool  # before the instruction's waits
    side: tuple[int, bool] | None  # only in steps in which this predicate has this value
    columns: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Instruction:
    family: int  # -1: only waits
    name: str
    units: tuple[int, int]
    waits: tuple[tuple[int, int, int], ...]  # event, arrivals, lag; without hints
    ends: bool  # the step: no worker begins the next before
    signal: int
    conditions: tuple[tuple[int, bool], ...]  # predicates, and the values with which it runs
    accesses: tuple[Access, ...]

    def __str__(self) -> str:
        return (
            f"task '{self.name}' units [{self.units[0]}, {self.units[1]})" if self.family >= 0 else "a wait"
        )


@dataclass(frozen=True)
class Program:
    name: str
    objects: tuple[Object, ...]
    workers: tuple[tuple[Instruction, ...], ...]

    @staticmethod
    def parse(line: str) -> Program:
        data = json.loads(line)

        def instruction(i: dict[str, Any]) -> Instruction:
            accesses = tuple(
                Access(
                    a["object"],
                    a["write"],
                    a["shares"],
                    a["early"],
                    (a["side"][0], a["side"][1]) if "side" in a else None,
                    tuple((b, e) for b, e in a["columns"]),
                )
                for a in i["accesses"]
            )
            waits = tuple((e, n, lag) for e, n, lag, hint in i["waits"] if not hint)
            return Instruction(
                i["family"],
                i["name"],
                tuple(i["units"]),
                waits,
                i["ends"],
                i["signal"],
                tuple((o, v) for o, v in i.get("conditions", [])),
                accesses,
            )

        return Program(
            data["program"],
            tuple(Object(**o) for o in data["objects"]),
            tuple(tuple(map(instruction, w)) for w in data["workers"]),
        )


class Broken(Exception):
    """An order of running, allowed by the waits, that goes wrong."""


Decide = Callable[[int, int], bool]
Version = tuple[
    int, int, int
]  # family and step of the last writer, and the object it wrote; -1 before the first
Memory = tuple[Version, ...]
_CLEARED: Version = (-1, -1, -1)


class Machine:
    """The pieces of memory, and what each instruction does to them in each step."""

    def __init__(self, program: Program, reference: Program, decide: Decide = lambda step, predicate: True):
        """`reference` is the program as planned; its families, run in order, say what must be found. `decide`: for a
        step and the object of a predicate, which side the step takes; of rows that two families may write, whether
        the first does."""
        self.program = program
        self.reference = reference
        self._decide = decide
        instructions = [i for worker in reference.workers for i in worker]
        # What is read must be of this step, where not every family runs in every step.
        conditional = any(i.conditions for i in instructions)
        self._fresh = {
            a.object
            for i in instructions
            for a in i.accesses
            if conditional and a.write and program.objects[a.object].space == 1
        }
        self._joined = _find_joined(program)
        accesses = [
            (o, a)
            for p in (program, reference)
            for w in p.workers
            for i in w
            for a in i.accesses
            for o in [a.object]
        ]
        # Cells of an object: the ranges between all borders that some access has in it.
        self._borders: list[list[int]] = []
        self._first: list[int] = []
        cells = 0
        for index, obj in enumerate(program.objects):
            borders = {0, obj.columns}
            for o, a in accesses:
                if o == index:
                    borders.update(border for columns in a.columns for border in columns)
            self._borders.append(sorted(borders))
            self._first.append(cells)
            cells += (len(borders) - 1) * (2 if obj.flagged else 1)
        self.empty: Memory = ((-1, -1, -1),) * cells
        self._aliases = [
            [
                cell
                for other, o in enumerate(program.objects)
                if other != index and o.overlaps(obj)
                for cell in self._all(other)
            ]
            for index, obj in enumerate(program.objects)
        ]
        # Of each event the workers that signal it, and which of their instructions do.
        self._signals: dict[int, list[tuple[int, list[int]]]] = {}
        for number, worker in enumerate(program.workers):
            for index, i in enumerate(worker):
                of_event = self._signals.setdefault(i.signal, [])
                if not of_event or of_event[-1][0] != number:
                    of_event.append((number, []))
                of_event[-1][1].append(index)
        self._expected: dict[tuple[int, int], Memory] = {}
        self._steps_expected = 0
        self._memory_expected = self.empty

        ends = [(w, n) for w, worker in enumerate(program.workers) for n, i in enumerate(worker) if i.ends]
        self._end = ends[0] if ends else None

    @property
    def has_choices(self) -> bool:
        return bool(self._joined)

    def _all(self, index: int) -> range:
        return range(self._first[index], self._first[index] + len(self._borders[index]) - 1)

    def _cells(self, access: Access, step: int) -> Iterator[int]:
        """In the copy of `step` if there are two."""
        borders, count = self._borders[access.object], len(self._borders[access.object]) - 1
        first = self._first[access.object]
        if self.program.objects[access.object].flagged:
            first += step % 2 * count
        for begin, end in access.columns:
            for cell in range(bisect.bisect_left(borders, begin), bisect.bisect_left(borders, end)):
                # Which items of work a share holds differs from step to step.
                yield first + ((cell + step) % count if access.shares else cell)

    def execute(self, instruction: Instruction, step: int, memory: Memory) -> Memory:
        """Memory after the instruction; `Broken` if it reads what it should not find."""
        if instruction.family < 0:
            return memory
        if not self._runs(instruction, step):
            return self.clear(instruction, step, memory)
        expected = self.expected(instruction.family, step)
        for access in instruction.accesses:
            if access.write or self._is_other_side(access, step):
                continue
            if not self._happens(instruction, access, step):
                continue
            if self.program.objects[access.object].forwarded:
                self._look_early(instruction, access, step, memory)
                continue
            for cell in self._cells(access, step):
                if memory[cell] != expected[cell] or memory[cell][2] not in (-1, access.object):
                    name = self.program.objects[access.object].name
                    raise Broken(
                        f"{instruction} in step {step} finds in '{name}' what family {memory[cell][0]} wrote in "
                        f"step {memory[cell][1]}, not family {expected[cell][0]} in step {expected[cell][1]}"
                    )
                if access.object in self._fresh and memory[cell][1] != step:
                    name = self.program.objects[access.object].name
                    raise Broken(
                        f"{instruction} in step {step} reads '{name}', which nobody has written in it"
                    )
        return self.write(instruction, step, memory)

    def _runs(self, instruction: Instruction, step: int) -> bool:
        return all(self._decide(step, predicate) == value for predicate, value in instruction.conditions)

    def _happens(self, instruction: Instruction, access: Access, step: int) -> bool:
        """Whether it does in the step, of those who write the same rows one way or the other."""
        for rows, (first, second, ranges) in self._joined.items():
            at_first = self._decide(step, rows)
            if instruction.family == first and access.write and access.object in (rows, ranges):
                return at_first == (access.object == rows)
            if instruction.family == second and access.object in (rows, ranges):
                return not at_first
        return True

    def _is_other_side(self, access: Access, step: int) -> bool:
        """Whether it is of the side of a choice that the step does not take."""
        return access.side is not None and self._decide(step, access.side[0]) != access.side[1]

    def _look_early(self, instruction: Instruction, access: Access, step: int, memory: Memory) -> None:
        """All that earlier steps stored is there, and nothing of later ones: this step's rows are others. Of flagged
        words nothing is there, or what this step wrote."""
        flagged = self.program.objects[access.object].flagged
        for cell in self._cells(access, step):
            if flagged and memory[cell] != _CLEARED and memory[cell][1] != step:
                raise Broken(f"{instruction} in step {step} finds words of step {memory[cell][1]}")
            if not flagged and not step - 1 <= memory[cell][1] <= step:
                raise Broken(
                    f"{instruction} in step {step} finds in '{self.program.objects[access.object].name}' what step "
                    f"{memory[cell][1]} stored"
                )

    def _is_there(self, instruction: Instruction, step: int, memory: Memory) -> bool:
        """Whether the flagged words that the instruction reads are there: its conditions' one after the other, and
        nothing more once one of them does not hold."""
        looks = [
            a
            for a in instruction.accesses
            if not a.write and self.program.objects[a.object].flagged and self._happens(instruction, a, step)
        ]

        def are_there(accesses: Iterable[Access]) -> bool:
            return all(memory[cell] != _CLEARED for a in accesses for cell in self._cells(a, step))

        for predicate, value in instruction.conditions:
            if not are_there(a for a in looks if a.object == predicate):
                return False
            if self._decide(step, predicate) != value:
                return True
        return are_there(a for a in looks if not self._is_other_side(a, step))

    def write(self, instruction: Instruction, step: int, memory: Memory) -> Memory:
        cells = list(memory)
        for access in instruction.accesses:
            if access.write and self._happens(instruction, access, step):
                for cell in self._aliases[access.object]:
                    cells[cell] = (instruction.family, step, access.object)
        for access in instruction.accesses:
            if access.write and self._happens(instruction, access, step):
                for cell in self._cells(access, step):
                    cells[cell] = (instruction.family, step, access.object)
        return self.clear(instruction, step, tuple(cells))

    def clear(self, instruction: Instruction, step: int, memory: Memory) -> Memory:
        """Takes back flagged words of the next step's copy, which whoever is passed over does, too; of rows that two
        families may write the second."""
        cells = list(memory)
        for access in instruction.accesses:
            of_other = self._joined.get(access.object, (-1,))[0] == instruction.family
            if access.write and self.program.objects[access.object].flagged and not of_other:
                for cell in self._cells(replace(access, shares=False), step + 1):
                    cells[cell] = _CLEARED
        return tuple(cells)

    def expected(self, family: int, step: int) -> Memory:
        """What lies in memory when the family begins, if all run in the model's order."""
        while self._steps_expected <= step:
            tasks = [i for worker in self.reference.workers for i in worker if i.family >= 0]
            for number in sorted({i.family for i in tasks}):
                self._expected[number, self._steps_expected] = self._memory_expected
                for i in tasks:
                    if i.family == number:
                        does = self.write if self._runs(i, self._steps_expected) else self.clear
                        self._memory_expected = does(i, self._steps_expected, self._memory_expected)
            self._steps_expected += 1
        return self._expected[family, step]

    def count(self, event: int, places: tuple[int, ...]) -> int:
        """Arrivals of an event when each worker has run so many instructions."""
        total = 0
        for worker, signals in self._signals.get(event, ()):
            full, rest = divmod(places[worker], len(self.program.workers[worker]))
            total += full * len(signals) + bisect.bisect_left(signals, rest)
        return total

    def may_run(self, worker: int, places: tuple[int, ...], memory: Memory) -> bool:
        """Whether the worker's next instruction has its waits met; `Broken` if by signals of a later step."""
        step, index = divmod(places[worker], len(self.program.workers[worker]))
        instruction = self.program.workers[worker][index]
        if index == 0 and step > 0 and self._end is not None:
            ending, number = self._end
            if places[ending] <= (step - 1) * len(self.program.workers[ending]) + number:
                return False
        for event, arrivals, lag in instruction.waits:
            if self.count(event, places) < arrivals * (step + 1 - lag):
                return False
        for event, _, lag in instruction.waits:
            for number, signals in self._signals.get(event, ()):
                other = self.program.workers[number]
                if step - lag >= 0 and places[number] <= (step - lag) * len(other) + signals[-1]:
                    raise Broken(
                        f"{instruction} in step {step} goes on before {other[signals[-1]]} signalled event {event}"
                    )
        return self._is_there(instruction, step, memory)

    def runnable(self, places: tuple[int, ...], steps: int, memory: Memory) -> list[int]:
        """The workers that can go on; `Broken` if none can and not all have ended."""
        left = [w for w, i in enumerate(self.program.workers) if places[w] < steps * len(i)]
        able = [w for w in left if self.may_run(w, places, memory)]
        if left and not able:
            stuck = [self.program.workers[w][places[w] % len(self.program.workers[w])] for w in left]
            raise Broken(
                "no worker can go on: "
                + ", ".join(f"{i} on worker {w}" for w, i in zip(left, stuck, strict=True))
            )
        return able

    def advance(self, worker: int, places: tuple[int, ...], memory: Memory) -> tuple[tuple[int, ...], Memory]:
        step, index = divmod(places[worker], len(self.program.workers[worker]))
        memory = self.execute(self.program.workers[worker][index], step, memory)
        for following in self.program.workers[worker][index + 1 : index + 2]:
            for access in following.accesses:
                if access.early:
                    self._look_early(following, access, step, memory)
        return (*places[:worker], places[worker] + 1, *places[worker + 1 :]), memory


def _find_joined(program: Program) -> dict[int, tuple[int, int, int]]:
    """Of rows that two families may write, of which a step has one: both families, and what the second joins of the
    first one's; see mk-join-ranges."""
    of: dict[tuple[int, bool], set[int]] = {}
    for instruction in (i for worker in program.workers for i in worker if not i.conditions):
        for access in instruction.accesses:
            of.setdefault((access.object, access.write), set()).add(instruction.family)
    found = {}
    for (rows, write), families in of.items():
        if write and len(families) == 2 and program.objects[rows].flagged:
            first, second = sorted(families)
            (ranges,) = (
                o for (o, w), by in of.items() if w and by == {first} and of.get((o, False)) == {second}
            )
            found[rows] = (first, second, ranges)
    return found


class ShuffledExecutor:
    """Runs a program in one random order after the other."""

    def __init__(self, program: Program, reference: Program | None = None):
        self.machine = Machine(program, reference or program)

    def run(self, seed: int, steps: int = 3) -> None:
        """Raises `Broken` if this order goes wrong. Worker speeds differ, so that some run far ahead; steps
        take sides at random."""
        machine, rng = self.machine, random.Random(seed)
        if machine.has_choices or any(i.conditions for worker in machine.reference.workers for i in worker):

            def decide(step: int, predicate: int) -> bool:
                return random.Random(f"{seed} {step} {predicate}").random() < 0.5

            machine = Machine(machine.program, machine.reference, decide)
        speeds = [rng.choice([1, 4, 32]) for _ in machine.program.workers]
        places, memory = (0,) * len(speeds), machine.empty
        while left := [w for w, i in enumerate(machine.program.workers) if places[w] < steps * len(i)]:
            # A worker that has to wait is drawn again later: the same odds as a draw from those that may run.
            while left:
                worker = rng.choices(left, [speeds[w] for w in left])[0]
                if machine.may_run(worker, places, memory):
                    places, memory = machine.advance(worker, places, memory)
                    break
                left.remove(worker)
            else:
                machine.runnable(places, steps, memory)  # says who is stuck


def explore(program: Program, reference: Program | None = None, steps: int = 3) -> int:
    """Runs a small program in every order and returns the number of states; `Broken` if one goes wrong."""
    machine = Machine(program, reference or program)
    start = ((0,) * len(program.workers), machine.empty)
    seen, todo = {start}, [start]
    while todo:
        places, memory = todo.pop()
        for worker in machine.runnable(places, steps, memory):
            state = machine.advance(worker, places, memory)
            if state not in seen:
                seen.add(state)
                todo.append(state)
    return len(seen)
