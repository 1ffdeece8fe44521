# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One run of the benchmark as data: everything that was measured, nothing derived. Kept as JSON in bench/results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.machine import slug
from bench.peer import ROOT

FOLDER = ROOT / "bench" / "results"
SUBJECT = "mk"  # the peer that the others are compared with
RATES = ("decode_short", "prefill", "decode_long")  # of a turn, tokens per second
_TURN = (*RATES, "bandwidth", "bandwidth_long", "elsewhere", "same_tokens")
_STARTS = ("import", "compile", "first_token")
_MEMORY = ("bare", "peak", "weights", "pool")
_SETTINGS = ("short", "long", "after_short", "after_long", "threads")


@dataclass(frozen=True)
class Spread:
    """The median of some values, with the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Raises ValueError if there are none."""
        found = sorted(values)
        if not found:
            raise ValueError("no values")
        return cls(statistics.median(found), found[0], found[-1])


@dataclass
class Results:
    """* `date`: ISO; `model`: the file's name; `machine`: see `bench.machine`;
    * `settings`: tokens of the two prompts and of what follows each, and threads of every peer;
    * `peers`: by name, what each said about itself; `rounds`: by name, see `bench.rounds.turn`;
    * `starts`: seconds, by kind, of every repetition; `memory`: bytes.
    """

    date: str
    model: str
    machine: dict[str, Any]
    settings: dict[str, int]
    peers: dict[str, dict[str, Any]]
    rounds: list[dict[str, dict[str, Any]]]
    starts: dict[str, list[float]]
    memory: dict[str, int]

    @property
    def others(self) -> list[str]:
        """Names of the peers that mk is compared with."""
        return [name for name in self.peers if name != SUBJECT]

    def rate(self, peer: str, measure: str) -> Spread:
        """Over the rounds; `measure` is one of RATES, in tokens per second."""
        return Spread.of(turns[peer][measure] for turns in self.rounds)

    def ratio(self, peer: str, measure: str) -> Spread:
        """How many times as fast as `peer` mk is, round by round."""
        return Spread.of(turns[SUBJECT][measure] / turns[peer][measure] for turns in self.rounds)

    def share(self, peer: str, measure: str = "decode_short") -> Spread | None:
        """Of the read bandwidth measured beside it, what a peer's decode uses; None if its bytes are not known.

        A token reads all weights and the keys and values of the positions before it, each once.
        """
        facts, subject = self.peers[peer], self.peers[SUBJECT]
        if "weight_bytes" not in facts:
            return None
        prompt, after, beside = {
            "decode_short": ("short", "after_short", "bandwidth"),
            "decode_long": ("long", "after_long", "bandwidth_long"),
        }[measure]
        length = self.settings[prompt] + self.settings[after] / 2
        read = facts["weight_bytes"] + facts.get("kv_bytes", subject["kv_bytes"]) * length
        return Spread.of(turns[peer][measure] * read / turns[peer][beside] for turns in self.rounds)

    def bandwidth(self) -> Spread:
        """Bytes per second, over all turns."""
        return Spread.of(turn["bandwidth"] for turns in self.rounds for turn in turns.values())

    def elsewhere(self) -> Spread:
        """Share of the machine's CPU time that went to other processes, over all turns."""
        return Spread.of(turn["elsewhere"] for turns in self.rounds for turn in turns.values())

    def memory_ratio(self) -> float:
        """Peak resident bytes over the bare interpreter, divided by packed weights and KV pool."""
        memory = self.memory
        return (memory["peak"] - memory["bare"]) / (memory["weights"] + memory["pool"])

    def path(self) -> Path:
        """Where `save` puts it."""
        return FOLDER / f"cpu-{slug(self.machine)}-{self.date}.json"

    def save(self) -> Path:
        """Writes the JSON file and returns its path."""
        path = self.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def load(path: Path) -> Results:
    """Raises ValueError, naming the place, if the file is not what `Results.save` writes."""
    try:
        data = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error
    names = [field.name for field in fields(Results)]
    if not isinstance(data, dict) or sorted(data) != sorted(names):
        raise ValueError(f"{path.name}: expected an object with {', '.join(names)}")
    results = Results(**data)
    _check(results, path.name)
    return results


def newest() -> Path | None:
    """The latest file in bench/results."""
    return max(FOLDER.glob("cpu-*.json"), key=lambda path: path.stem[-len("2000-01-01") :], default=None)


def _check(results: Results, where: str) -> None:
    _numbers(results.settings, _SETTINGS, f"{where}: settings")
    _numbers(results.memory, _MEMORY, f"{where}: memory")
    if SUBJECT not in results.peers:
        raise ValueError(f"{where}: peers: {SUBJECT} is missing")
    _numbers(results.peers[SUBJECT], ("weight_bytes", "kv_bytes"), f"{where}: peers: {SUBJECT}")
    if not results.rounds:
        raise ValueError(f"{where}: rounds: there is none")
    for index, turns in enumerate(results.rounds):
        for peer in results.peers:
            _numbers(turns.get(peer, {}), _TURN, f"{where}: round {index}: {peer}")
    for name in _STARTS:
        for index, value in enumerate(results.starts.get(name) or [None]):
            _numbers({name: value}, (name,), f"{where}: starts: repetition {index}")


def _numbers(values: dict[str, Any], names: Iterable[str], where: str) -> None:
    valid: Callable[[Any], bool] = lambda value: isinstance(value, int | float) and value >= 0  # noqa: E731
    for name in names:
        if not valid(values.get(name)):
            raise ValueError(f"{where}: {name} is {values.get(name)!r}; expected a number of at least 0")
