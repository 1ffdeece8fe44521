# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What Python code writes to: tensors, and the objects around it.

Both branches of a `torch.cond` run while a module is traced, once, and neither does later. So a branch that counts its
calls, keeps a list or sets a global would not mean what it says. Before it runs, the objects that it could reach are
walked over (attributes, containers, variables of enclosing functions, classes and globals of the user's own code) and
it is noted what each holds; afterwards they are asked again.
"""

from __future__ import annotations

import argparse
import array
import collections
import functools
import gc
import itertools
import operator
import random
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

_MOST = 100_000  # objects that are looked at, the nearest first
_PLAIN = (int, float, complex, bool, str, bytes, type(None))  # equal ones are the same
_CONTAINERS = (dict, list, tuple, set, frozenset, collections.deque)
_SPACES = (types.SimpleNamespace, argparse.Namespace, collections.UserDict, collections.UserList)
# Python's own among the variables of a module.
_UNNOTED = frozenset(("__builtins__", "__warningregistry__", "__loader__", "__spec__"))
_MOST_BYTES = 1 << 20

Parts = list[tuple[Any, Any]]


class Surroundings:
    """What may be reached from `roots`, and what it holds now. Code of the package of `own` is the user's wherever it
    lies."""

    def __init__(self, own: torch.nn.Module, *roots: Any) -> None:
        self._own = type(own).__module__.partition(".")[0]
        self._tensors = [(one, one._version) for one in _tensors() if not one.is_inference()]
        self._held: dict[int, tuple[Any, Parts]] = {}
        self._found: dict[int, str] = {}  # where, for a container
        waiting = collections.deque([("", own), *(("", root) for root in roots)])
        while waiting and len(self._held) < _MOST:
            where, one = waiting.popleft()
            if id(one) in self._held or (parts := self._parts(one)) is None:
                continue
            self._held[id(one)] = (one, parts)  # which keeps the object, so that no other gets its id
            self._found[id(one)] = where
            inside = isinstance(one, _CONTAINERS)
            for name, part in parts:
                waiting.append((where if inside else _place(name, one), part))

    def has_written_tensors(self) -> bool:
        return any(tensor._version != version for tensor, version in self._tensors)

    def find_change(self) -> str:
        """What holds something else by now, "" if nothing does."""
        for one, before in self._held.values():
            after = self._parts(one) or []
            if len(before) == len(after):
                pairs = zip(before, after, strict=True)
                if all(_same(a, b) and _same(x, y) for (a, x), (b, y) in pairs):
                    continue
            if (name := _changed_name(before, after)) is not None:
                where = self._found[id(one)]
                return where if where and not _place(name, one) else _place(name, one) or _describe(one)
        return ""

    def _parts(self, one: Any) -> Parts | None:
        """What an object holds, by name; None for one that holds nothing that its user's code could set."""
        kind = type(one)
        if kind in _PLAIN or isinstance(one, torch.Tensor):
            return None
        if isinstance(one, types.FunctionType | types.MethodType | functools.partial):
            return list(self._of_function(one))
        if isinstance(one, types.ModuleType):
            return _variables(vars(one)) if self._is_users(one.__name__) else None
        if isinstance(one, type):
            return _variables(vars(one)) if self._is_users(one.__module__) else None
        if isinstance(one, property | staticmethod | classmethod):
            return [(name, getattr(one, name, None)) for name in ("fget", "fset", "__func__")]
        if (state := _hidden_state(one)) is not None:
            return [("", state)]
        holds = isinstance(one, _CONTAINERS)
        if not (holds or isinstance(one, (torch.nn.Module, *_SPACES)) or not _is_library(kind.__module__)):
            return None
        parts = list(_contents(one)) if holds else []
        parts += getattr(one, "__dict__", {}).items()
        for base in kind.__mro__:
            for name in _slots(base):
                try:
                    parts.append((name, object.__getattribute__(one, name)))
                except AttributeError:
                    continue
        return [*parts, ("", kind)]

    def _of_function(self, one: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(one, types.MethodType):
            yield from (("", one.__self__), ("", one.__func__))
            return
        if isinstance(one, functools.partial):
            yield from (("", one.func), ("", one.args), ("", one.keywords))
            return
        for name, cell in zip(one.__code__.co_freevars, one.__closure__ or (), strict=True):
            try:
                yield f"the variable {name}", cell.cell_contents
            except ValueError:  # of a variable that is not set yet
                yield f"the variable {name}", None
        yield from (("", one.__defaults__), ("", one.__kwdefaults__))
        yield from vars(one).items()
        if self._is_users(one.__module__ or ""):
            yield from ((f"the global {name}", value) for name, value in _variables(one.__globals__))

    def _is_users(self, name: str) -> bool:
        """Whether the module of that name may be the user's own."""
        top = name.partition(".")[0]
        if top == self._own:
            return top not in _LIBRARIES
        if top in _LIBRARIES or top in sys.stdlib_module_names:
            return False
        file = getattr(sys.modules.get(top), "__file__", None) or ""
        return not file.startswith(_INSTALLED)


_LIBRARIES = frozenset(("torch", "mk", "numpy", "sympy", "builtins"))
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})


def _is_library(name: str) -> bool:
    top = name.partition(".")[0]
    return top in _LIBRARIES or top in sys.stdlib_module_names


def _tensors() -> Iterable[torch.Tensor]:
    """Every tensor that code may know, however it came by it."""
    return [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]


def _variables(space: Any) -> Parts:
    return [
        (name, value) for name, value in list(space.items()) if name not in _UNNOTED and not _is_module(value)
    ]


def _is_module(value: Any) -> bool:
    """Modules of libraries come and go as they are imported."""
    return isinstance(value, types.ModuleType) and _is_library(value.__name__)


def _contents(one: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(one, dict):
        yield from list(one.items())
    else:
        yield from (("", part) for part in list(one))


def _slots(base: type) -> list[str]:
    names = vars(base).get("__slots__", ())
    names = [names] if isinstance(names, str) else list(names)
    private = [name for name in names if name.startswith("__") and not name.endswith("__")]
    mangled = [f"_{base.__name__.lstrip('_')}{name}" for name in private]
    return [*(name for name in names if name not in private), *mangled]


def _hidden_state(one: Any) -> Any:
    """Of objects that hold more than objects: their numbers; None for others."""
    if isinstance(one, np.ndarray):
        return (one.shape, one.tobytes()).__repr__() if one.nbytes <= _MOST_BYTES else None
    if isinstance(one, bytearray | array.array):
        return bytes(one[:_MOST_BYTES])
    if isinstance(one, itertools.count):
        return repr(one)
    if isinstance(one, random.Random | np.random.Generator):
        return repr(one.getstate() if isinstance(one, random.Random) else one.bit_generator.state)
    if type(one).__name__.endswith("iterator") and hasattr(one, "__length_hint__"):
        return operator.length_hint(one)
    return None


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and type(a) in _PLAIN and repr(a) == repr(b))


def _changed_name(before: Parts, after: Parts) -> str | None:
    """The first name that holds something else, "" if it has none; None if nothing but imports came."""
    old = {id(name) if not isinstance(name, str) else name: part for name, part in before}
    for name, part in after:
        key = name if isinstance(name, str) else id(name)
        if isinstance(name, str) and name and (key not in old or not _same(old[key], part)):
            if isinstance(part, types.ModuleType) and key not in old:
                continue
            return name
    gone = {name for name, _ in before if isinstance(name, str)} - {
        name for name, _ in after if isinstance(name, str)
    }
    if gone - {""}:
        return sorted(gone - {""})[0]
    unnamed = [
        [part for name, part in parts if not isinstance(name, str) or not name] for parts in (before, after)
    ]
    same = len(unnamed[0]) == len(unnamed[1]) and all(map(_same, *unnamed))
    return None if same else ""


def _place(name: Any, owner: Any) -> str:
    """Where a part was found, "" if it has no name there."""
    if not isinstance(name, str) or not name or isinstance(owner, _CONTAINERS):
        return ""
    return name if isinstance(owner, types.FunctionType) else f"{name} of {_describe(owner)}"


def _describe(one: Any) -> str:
    if isinstance(one, types.ModuleType):
        return one.__name__
    return f"class {one.__name__}" if isinstance(one, type) else f"a {type(one).__name__}"
