# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A peer as a process that is kept alive, and the CPU time that processes use."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_TICK = os.sysconf("SC_CLK_TCK")


class Peer:
    """A process that runs `bench.peers.serve` of the checkout `root`; `facts` is its first answer. For a `with` block.

    Raises RuntimeError, here and in `generate`, when the process has ended.
    """

    def __init__(self, name: str, command: list[str], log: Path, root: Path = ROOT) -> None:
        self.name, self._log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=root,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},  # keeps the log in the order of events
            )
        self.facts = self._answer()

    def generate(self, prompt: list[int], tokens: int) -> dict[str, Any]:
        """See `bench.peers.serve`."""
        assert self._process.stdin is not None
        print(json.dumps({"prompt": prompt, "tokens": tokens}), file=self._process.stdin, flush=True)
        return self._answer()

    def cpu_seconds(self) -> float:
        """What the process has used so far, all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            lines = self._log.read_text(errors="replace").strip().splitlines() or ["no message"]
            raise RuntimeError(f"{self.name}: the process has ended: {lines[-1]} (all of it: {self._log})")
        return json.loads(line)

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()


@dataclass
class Elsewhere:
    """How busy the machine is with what is not measured: the share of all cores' time that went to other processes.

    `peer` is the one whose turn it is, None for the processes that this one has started and awaited.
    """

    peer: Peer | None = None

    def __post_init__(self) -> None:
        self._began, self._busy, self._own = time.perf_counter(), _busy_seconds(), self._own_seconds()

    def share(self) -> float:
        """Since this object was made; between 0 and 1."""
        wall = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        other = (_busy_seconds() - self._busy) - (self._own_seconds() - self._own)
        return min(max(other / wall, 0.0), 1.0)

    def _own_seconds(self) -> float:
        return sum(os.times()[:4]) + (self.peer.cpu_seconds() if self.peer is not None else 0.0)


def _busy_seconds() -> float:
    """Of all cores, everything but idle and waiting for disks; also what the hypervisor took away."""
    user, nice, system, _, _, irq, softirq, steal = (
        int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICK
