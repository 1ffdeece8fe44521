# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m bench.peers.llama_peer GGUF BF16_GGUF THREADS: llama.cpp as a peer, in the environment of .venv-bench.

Its C API directly: the Python class above it copies all logits of every token. BF16_GGUF is made from GGUF by
llama.cpp's own quantize function if it is not there.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np

from bench.peers.serve import Generate, serve

CONTEXT = 1024  # tokens: room for the longest measurement
_log_level = llama.llama_log_callback(
    lambda level, text, _: sys.stderr.buffer.write(text) and None if level >= 4 else None
)  # errors only


def main() -> None:
    source, target, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    serve(lambda: prepare(source, target, threads))


def prepare(source: Path, target: Path, threads: int) -> tuple[Generate, dict[str, Any]]:
    llama.llama_log_set(_log_level, ctypes.c_void_p(0))
    llama.llama_backend_init()
    if not target.exists():
        convert(source, target)
    model = llama.llama_model_load_from_file(os.fsencode(target), llama.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {target.name}")
    options = llama.llama_context_default_params()
    options.n_ctx = CONTEXT
    options.n_batch = options.n_ubatch = 512
    options.n_threads = options.n_threads_batch = threads
    context = llama.llama_init_from_model(model, options)
    if not context:
        raise RuntimeError("llama.cpp cannot make a context")
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

    def next_token(tokens: Any, count: int) -> int:
        if llama.llama_decode(context, llama.llama_batch_get_one(tokens, count)):
            raise RuntimeError("llama_decode failed")
        logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (vocabulary,))
        return int(logits.argmax())

    def generate(prompt: list[int], count: int) -> Iterator[int]:
        llama.llama_memory_clear(llama.llama_get_memory(context), False)
        token = next_token((llama.llama_token * len(prompt))(*prompt), len(prompt))
        yield token
        one = (llama.llama_token * 1)()
        for _ in range(count - 1):
            one[0] = token
            token = next_token(one, 1)
            yield token

    return generate, {
        "version": llama.__version__,
        "dtype": "bfloat16",
        "threads": threads,
        "weight_bytes": llama.llama_model_size(model),
        "features": llama.llama_print_system_info().decode().strip(),
    }


def convert(source: Path, target: Path) -> None:
    """Writes `source` with every matrix in bfloat16."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    options = llama.llama_model_quantize_default_params()
    options.ftype = llama.LLAMA_FTYPE_MOSTLY_BF16
    options.allow_requantize = True
    if llama.llama_model_quantize(os.fsencode(source), os.fsencode(partial), ctypes.byref(options)):
        raise RuntimeError(f"llama.cpp cannot convert {source.name} to bfloat16")
    partial.rename(target)


if __name__ == "__main__":
    main()
