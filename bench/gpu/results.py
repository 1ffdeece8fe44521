# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A run on a GPU as data: its JSON file, medians, floors and ratios."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.gpu.shapes import CASES, Case
from bench.results import FOLDER, Spread

SUBJECT, RIVAL = "mk", "torch"
SIDES = (SUBJECT, RIVAL)
NOT_COMPILED = "not compiled"


@dataclass
class Measured:
    """One case.

    * `gpu`: facts about the GPU; `read_bytes`: what a step must read; `batch`, `context`: as in `Case`;
    * `sides`: by name, what each said about itself; `errors`: by name, why there is nothing, or nothing more;
    * `rounds`: `order` of the turns; `ceiling`: bytes per second, samples before, between and after the turns; and by
      name each turn, whose `samples` have `ms` a step;
    * `energy`: by name, see `bench.gpu.nvml.Nvml.energy`.
    """

    date: str
    gpu: dict[str, Any]
    read_bytes: int
    batch: int
    context: int
    sides: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    energy: dict[str, dict[str, Any]] = field(default_factory=dict)

    def milliseconds(self, side: str) -> Spread | None:
        """Of a step, over the rounds, each by the median of its samples; None if there is none."""
        return _spread(_step(turns, side) for turns in self.rounds)

    def floor(self) -> Spread | None:
        """Milliseconds that reading alone takes at the ceiling."""
        speeds = (
            statistics.median(ceiling) for turns in self.rounds for ceiling in turns["ceiling"] if ceiling
        )
        return _spread(self.read_bytes / speed * 1000 for speed in speeds)

    def share(self, side: str) -> Spread | None:
        """Of the ceiling measured right before and after, what a side reads."""
        return _spread(self._share(turns, side) for turns in self.rounds)

    def ratio(self) -> Spread | None:
        """How many times as fast as torch mk is, round by round."""
        pairs = ((_step(turns, RIVAL), _step(turns, SUBJECT)) for turns in self.rounds)
        return _spread(rival / subject if rival and subject else None for rival, subject in pairs)

    def joules(self, side: str) -> float | None:
        """Per token."""
        found = self.energy.get(side, {}).get("joule_per_token")
        return None if found is None else float(found)

    def _share(self, turns: dict[str, Any], side: str) -> float | None:
        step = _step(turns, side)
        if step is None:
            return None
        at = turns["order"].index(side)
        beside = [statistics.median(samples) for samples in turns["ceiling"][at : at + 2] if samples]
        return self.read_bytes / statistics.mean(beside) * 1000 / step if beside else None


@dataclass
class Run:
    """`settings`: how it was asked for; `compile`: compile.json of bench.gpu_compile, or nothing; `cases`: by name."""

    date: str
    settings: dict[str, Any]
    compile: dict[str, Any]
    cases: dict[str, Measured]

    def case(self, name: str) -> tuple[Case, Measured]:
        """What it is, and what was found."""
        return CASES[name], self.cases[name]

    @property
    def gpus(self) -> list[str]:
        """Names of the GPUs, each once."""
        return list(dict.fromkeys(str(found.gpu.get("name", "unknown GPU")) for found in self.cases.values()))

    def path(self, folder: Path = FOLDER) -> Path:
        """Where `save` puts it."""
        name = re.sub(r"[^a-z0-9]+", "-", " ".join(self.gpus or ["none"]).lower()).strip("-")
        return folder / f"gpu-{name}-{self.date}.json"

    def save(self, folder: Path = FOLDER) -> Path:
        """Writes the JSON file and returns its path."""
        path = self.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=1) + "\n")
        fresh.replace(path)
        return path


def load(path: Path) -> Run:
    """Raises ValueError, naming the place, if the file is not what `Run.save` writes."""
    try:
        data = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error
    _check_fields(data, Run, path.name)
    for name, found in data["cases"].items():
        where = f"{path.name}: cases: {name}"
        if name not in CASES:
            raise ValueError(f"{where}: no such case")
        _check_fields(found, Measured, where)
        for index, turns in enumerate(found["rounds"]):
            _check_round(turns, f"{where}: round {index}")
    return Run(**{**data, "cases": {name: Measured(**found) for name, found in data["cases"].items()}})


def merged(runs: list[Run]) -> Run:
    """One run of several: every case as the last that has it; compilations of the last that has any."""
    cases = {name: found for run in runs for name, found in run.cases.items()}
    compiles = [run.compile for run in runs if run.compile]
    return Run(
        max(run.date for run in runs),
        runs[-1].settings,
        compiles[-1] if compiles else {},
        {name: cases[name] for name in CASES if name in cases},
    )


def newest() -> Path | None:
    """The latest file in bench/results."""
    return max(FOLDER.glob("gpu-*.json"), key=lambda path: path.stem[-len("2000-01-01") :], default=None)


def _step(turns: dict[str, Any], side: str) -> float | None:
    if side not in turns:
        return None
    return statistics.median(sample["ms"] for sample in turns[side]["samples"])


def _spread(values: Iterable[float | None]) -> Spread | None:
    found = [value for value in values if value is not None]
    return Spread.of(found) if found else None


def _check_fields(data: Any, kind: type[Any], where: str) -> None:
    names = sorted(each.name for each in fields(kind))
    if not isinstance(data, dict) or sorted(data) != names:
        raise ValueError(f"{where}: expected an object with {', '.join(names)}")


def _check_round(turns: Any, where: str) -> None:
    order = turns.get("order", [])
    if len(turns.get("ceiling", [])) != len(order) + 1:
        raise ValueError(f"{where}: expected a ceiling before, between and after {len(order)} turns")
    for side in order:
        for sample in turns.get(side, {}).get("samples") or [{}]:
            if not isinstance(sample.get("ms"), int | float) or sample["ms"] <= 0:
                raise ValueError(f"{where}: {side}: ms is {sample.get('ms')!r}; expected a number above 0")
