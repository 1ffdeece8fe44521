# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m bench.peers.mk_peer MODEL: mk as a peer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import mk
from mk.report import kv_bytes

from bench.peers.serve import Generate, serve


def main() -> None:
    serve(lambda: prepare(sys.argv[1]))


def prepare(model: str) -> tuple[Generate, dict[str, Any]]:
    llm = mk.LLM(model)
    manifest = llm.program.manifest

    def generate(prompt: list[int], count: int) -> Iterator[int]:
        return llm.engine.generate(prompt, max_new_tokens=count)

    return generate, {
        "version": mk.__version__,
        "dtype": manifest["options"]["dtype"],
        "threads": manifest["target"]["workers"],
        "weight_bytes": llm.engine.step_bytes,
        "kv_bytes": kv_bytes(manifest),
    }


if __name__ == "__main__":
    main()
