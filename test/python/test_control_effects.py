# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A branch of torch.cond that writes to Python objects is refused, with what it changes; one that reads them is not."""

from __future__ import annotations

import array
import collections
import dataclasses
import functools
import itertools
import logging
import random
import types
import warnings
from collections.abc import Callable
from typing import Any

import mk
import numpy as np
import pytest
import torch
from test_control import ROWS, error, rows
from torch import Tensor, nn

CALLS = 0
REGISTRY: dict[str, int] = {"calls": 0}
LOGGER = logging.getLogger("mk.test")


class Stats:
    total = 0

    def __init__(self) -> None:
        self.count, self.items, self.names = 0, [0], {"count": 0}

    def bump(self) -> None:
        self.count += 1


class Slots:
    __slots__ = ("__hidden", "count")

    def __init__(self) -> None:
        self.count, self.__hidden = 0, 0

    def hide(self) -> None:
        self.__hidden += 1


@dataclasses.dataclass
class Record:
    count: int = 0


class Numbers(list[int]):
    pass


def count_globally() -> None:
    global CALLS
    CALLS += 1


@functools.lru_cache
def twice(number: int) -> int:
    return 2 * number


class Writes(nn.Module):
    """`effect(module, local object, function that changes a local variable)` runs in a branch."""

    def __init__(self, effect: Callable[..., Any]) -> None:
        super().__init__()
        self.effect = effect
        self.linear = nn.Linear(16, 16)
        self.stats, self.slots, self.record, self.numbers = Stats(), Slots(), Record(), Numbers()
        self.space = types.SimpleNamespace(count=0, inner=Stats())
        self.deque: collections.deque[int] = collections.deque()
        self.counter: collections.Counter[str] = collections.Counter()
        self.lists: collections.defaultdict[str, list[int]] = collections.defaultdict(list)
        self.nested = [{"inner": (Stats(),)}]
        self.array, self.bytes, self.machine = np.zeros(3), bytearray(4), array.array("i", [0])
        self.ids, self.generator, self.iterator = itertools.count(), random.Random(0), iter([1, 2])
        self.function = lambda: None
        self.large, self.scale = 10**20, 1.5

    def forward(self, x: Tensor) -> Tensor:
        local, steps = Stats(), 0

        def step() -> None:
            nonlocal steps
            steps += 1

        def taken(x: Tensor) -> Tensor:
            self.effect(self, local, step)
            return self.linear(x)

        result: Tensor = torch.cond(x.max() > 1, taken, lambda x: x * 2, (x,))
        return result


WRITES: dict[str, Callable[..., Any]] = {
    "count of a Stats": lambda m, *_: m.stats.bump(),
    "items of a Stats": lambda m, *_: m.stats.items.append(1),
    "names of a Stats": lambda m, *_: m.stats.names.update(count=1),
    "total of class Stats": lambda m, *_: setattr(Stats, "total", Stats.total + 1),
    "count of a SimpleNamespace": lambda m, *_: setattr(m.space, "count", 1),
    "count of a Stats, in a space": lambda m, *_: m.space.inner.bump(),
    "count of a Slots": lambda m, *_: setattr(m.slots, "count", 1),
    "_Slots__hidden of a Slots": lambda m, *_: m.slots.hide(),
    "count of a Record": lambda m, *_: setattr(m.record, "count", 1),
    "numbers of a Writes": lambda m, *_: m.numbers.append(1),
    "deque of a Writes": lambda m, *_: m.deque.append(1),
    "counter of a Writes": lambda m, *_: m.counter.update("a"),
    "lists of a Writes": lambda m, *_: m.lists["a"],
    "count of a Stats, nested": lambda m, *_: m.nested[0]["inner"][0].bump(),
    "nested of a Writes": lambda m, *_: m.nested.insert(0, {}),
    "array of a Writes": lambda m, *_: m.array.__setitem__(0, 1),
    "bytes of a Writes": lambda m, *_: m.bytes.__setitem__(0, 1),
    "machine of a Writes": lambda m, *_: m.machine.__setitem__(0, 1),
    "ids of a Writes": lambda m, *_: next(m.ids),
    "generator of a Writes": lambda m, *_: m.generator.random(),
    "iterator of a Writes": lambda m, *_: next(m.iterator),
    "calls": lambda m, *_: setattr(m.function, "calls", 1),
    "large of a Writes": lambda m, *_: setattr(m, "large", m.large + 1),
    "scale of a Writes": lambda m, *_: delattr(m, "scale"),
    "training of a Writes": lambda m, *_: m.train(not m.training),
    "seen of a Linear": lambda m, *_: setattr(m.linear, "seen", 1),
    "_forward_hooks of a Linear": lambda m, *_: m.linear.register_forward_hook(lambda *_: None),
    "the global CALLS": lambda *_: count_globally(),
    "the global REGISTRY": lambda *_: REGISTRY.update(calls=REGISTRY["calls"] + 1),
    "the variable steps": lambda m, local, step: step(),
    "count of a Stats, local": lambda m, local, step: local.bump(),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_are_refused_by_name(name: str) -> None:
    module = nn.Sequential(nn.Linear(16, 16), Writes(WRITES[name]))
    place = name.partition(",")[0]
    message = rf"^1: torch\.cond has a branch that changes what lies outside of it \({place}\)"
    with pytest.raises(mk.CompileError, match=message) as refusal:
        mk.lower_module(module, to="mk", inputs=(rows(3, 16),))
    assert "\n" not in str(refusal.value)


def _own_objects(m: Any, local: Stats, step: Any) -> None:
    stats, numbers, names = Stats(), list(range(3)), {}
    stats.bump()
    stats.items.append(len(numbers))
    names["a"] = twice(len(numbers)) + local.count + REGISTRY["calls"] + CALLS + m.stats.count
    import json

    json.dumps(names)
    warnings.warn("of the branch", stacklevel=1)
    LOGGER.debug("of the branch")
    list(m.state_dict()), list(m.parameters()), repr(m)
    m.scale = 1.5  # as it was


@pytest.mark.filterwarnings("ignore:of the branch")
@pytest.mark.parametrize("effect", [_own_objects, lambda m, *_: m.linear(torch.zeros(1, 16))])
def test_what_reads_and_keeps_its_own_objects_compiles(effect: Callable[..., Any]) -> None:
    module = Writes(effect)
    with mk.compile_module(module, inputs=(rows(3, 16),), dynamic=ROWS, use_cache=False) as f:
        for scale in (0.1, 3.0):
            assert error(f(rows(5, 16) * scale), module, rows(5, 16) * scale) < 1e-5
