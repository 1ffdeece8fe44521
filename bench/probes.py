# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What only a fresh process can tell: `python -m bench.probes PROBE MODEL` prints one line of JSON.

compile       seconds of import and compilation, without the cache
first_token   when the first token was there, on the clock that all processes share
memory        peak resident bytes of a process that fills its whole KV pool, and what it has to hold
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.peer import ROOT

QUESTION = "What does a compiler do? Answer in three sentences."


def run(probe: str, model: str) -> dict[str, Any]:
    """A probe in a new process. Raises RuntimeError if it fails."""
    # As an installed program runs: with its libraries' bytecode, whatever this shell is set to.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bench.probes", probe, model],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"bench.probes {probe}: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    if "at" in found:
        found["seconds"] = found.pop("at") - began
    return found


def bare_interpreter() -> int:
    """Peak resident bytes of a Python that does nothing."""
    code = f"import re; print(re.search({_PEAK!r}, open('/proc/self/status').read())[1])"
    return 1024 * int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


_PEAK = r"VmHWM:\s*(\d+) kB"


def _peak() -> int:
    found = re.search(_PEAK, Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


def _compile(model: str) -> dict[str, Any]:
    os.environ["MK_CACHE"] = "0"
    import mk

    return dict(mk.compile_module(model).seconds)


def _first_token(model: str) -> dict[str, Any]:
    import mk

    with mk.LLM(model) as llm:
        asked = QUESTION if llm.tokenizer.template is None else [{"role": "user", "content": QUESTION}]
        next(llm.engine.generate(llm.encode(asked), max_new_tokens=1))
        return {"at": time.monotonic(), "warm": llm.engine.warm}


def _memory(model: str) -> dict[str, Any]:
    from mk.llm import open_program

    program = open_program(model)
    sizes, arenas = program.manifest["sizes"], program.manifest["arenas"]
    # A pool for one sequence, all of it used: memory that nobody touches would flatter the figure.
    with program.engine(pool_pages=sizes["slot_pages"]) as engine:
        for _ in engine.generate([1] * (engine.max_length - 8), max_new_tokens=8):
            pass
        return {
            "peak": _peak(),
            "weights": arenas["stream"] + arenas["params"],
            "pool": engine.kv_bytes,
            "warm": engine.warm,
        }


PROBES = {"compile": _compile, "first_token": _first_token, "memory": _memory}

if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](sys.argv[2])))
