# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One of those that are compared, as a process of its own: what fails there, or hangs, takes nobody along.

Standard library only: the process that asks imports neither mk nor torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.peer import ROOT

#: By name: what can be asked for; takes and returns what JSON has.
Actions = Mapping[str, Callable[..., Any]]


class SideError(Exception):
    """One line: what the process said, or that it ended or took too long. It is of no use afterwards."""


def serve(prepare: Callable[[], tuple[Actions, dict[str, Any]]]) -> None:
    """Answers requests until standard input ends. `prepare` makes the actions and facts, which are the first answer.

    A request is `{"do": name, ...}`, an answer `{"ok": value}` or, and then the process ends, `{"error": line}`.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get in between

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=out, flush=True)

    try:
        actions, facts = prepare()
        answer({"ok": facts})
        for line in sys.stdin:
            request = json.loads(line)
            answer({"ok": actions[request.pop("do")](**request)})
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split()) or "no message"
        answer({"error": f"{type(error).__name__}: {text}"[:600]})
        out.close()
        os._exit(1)  # a GPU that has failed can keep the ordinary end from ending


class Side:
    """A process that runs `serve`. It prepares by itself; `ready` waits for that. Use it in a `with` block."""

    def __init__(
        self, name: str, command: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self._log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        python = [str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]
        with open(log, "w") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
                env={
                    **os.environ,
                    **(environment or {}),
                    "PYTHONUNBUFFERED": "1",
                    "PYTHONPATH": os.pathsep.join(filter(None, python)),
                },
                start_new_session=True,  # torch has processes of its own, which must end with it
            )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self, timeout: float) -> bool:
        """Whether the first answer is there, or the end; `ready` then returns or raises at once."""
        end = time.monotonic() + timeout
        while self._lines.empty() and time.monotonic() < end:
            time.sleep(0.05)
        return not self._lines.empty()

    def ready(self, timeout: float) -> dict[str, Any]:
        """The facts. Raises SideError, as every method does."""
        return self._answer("start", timeout)

    def ask(self, do: str, timeout: float, **values: Any) -> Any:
        """What the action returns."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended: the answer says why
            print(json.dumps({"do": do, **values}), file=self._process.stdin, flush=True)
        return self._answer(do, timeout)

    def close(self) -> None:
        """Ends the process; a second call does nothing."""
        for number in (15, 9):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)  # what it has started
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def _answer(self, what: str, timeout: float) -> Any:
        try:
            line = self._lines.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            self.close()
            raise SideError(f"{what}: took longer than {timeout:.0f} s") from None
        if not line:
            self._lines.put("")  # for whoever asks again
            self.close()
            said = self._log.read_text(errors="replace").strip().splitlines() or ["no message"]
            raise SideError(f"{what}: the process has ended: {said[-1][:600]}")
        found = json.loads(line)
        if "error" in found:
            self.close()
            raise SideError(f"{what}: {found['error']}")
        return found["ok"]


class Clock:
    """What is left of a time limit."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, most: float = float("inf")) -> float:
        """Seconds, at most `most`, at least 0."""
        return max(min(self._end - time.monotonic(), most), 0.0)
