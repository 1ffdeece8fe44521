# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the checks on a GPU share: a line for each, a failure that ends none of the others, and a file of results."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".dev" / "gpu-test"
# What `prepare` writes, in two parts for a machine that takes no more than 64 MiB at once.
FIRST, SECOND, THIRD = "first", "second", "third"

Figures = dict[str, Any]


class Failed(Exception):
    """A promise that was not kept; the message has the numbers."""


def require(kept: bool, message: str) -> None:
    """Raises Failed unless it was."""
    if not kept:
        raise Failed(message)


class Report:
    """Prints a line for each check; `path`, if any, gets a JSON object for each, a line."""

    def __init__(self, path: Path | None = None) -> None:
        self.failed = 0
        self._path = path

    def attempt(self, name: str, check: Callable[..., Figures | None], *arguments: Any) -> None:
        """Calls the check; whatever it raises is its failure, what it returns are its figures."""
        began = time.perf_counter()
        found: dict[str, Any] = {"check": name, "ok": True}
        try:
            found["figures"] = check(*arguments) or {}
            said = ", ".join(f"{key} {_short(value)}" for key, value in found["figures"].items())
        except Exception as error:
            said = " ".join(str(error).split())[:1000]
            said = said if isinstance(error, Failed) else f"{type(error).__name__}: {said}"
            found |= {"ok": False, "error": said}
            self.failed += 1
        found["seconds"] = round(time.perf_counter() - began, 2)
        print(
            f"{name:34} {'ok' if found['ok'] else 'FAILED':6} {said} ({found['seconds']:.1f} s)", flush=True
        )
        if self._path is not None:
            with open(self._path, "a") as file:
                file.write(json.dumps(found, default=float) + "\n")

    @contextlib.contextmanager
    def engine(self, name: str, make: Callable[[], Any]) -> Iterator[Any]:
        """The engine that `make` returns, closed at the end; None, and a failure, if it cannot be made."""
        made: list[Any] = []
        self.attempt(f"{name}: engine", lambda: made.append(make()))
        try:
            yield made[0] if made else None
        finally:
            for engine in made:
                engine.close()


def main(checks: Callable[[Report, Path], None], given: list[str] | None = None) -> None:
    """The command line of a check: `--folder` with what `prepare` wrote, `--json` for the results. Exits with 1 if
    anything failed. `given`: arguments, by default those of the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=FOLDER, help="(default: .dev/gpu-test)")
    parser.add_argument("--json", type=Path, help="file that gets a line for each check")
    options = parser.parse_args(given)
    report = Report(options.json)
    checks(report, options.folder)
    sys.exit(report.failed > 0)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
