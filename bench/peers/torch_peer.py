# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m bench.peers.torch_peer GGUF THREADS: Hugging Face's model in eager PyTorch as a peer.

In float32 or bfloat16, whichever generates faster here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, GgufConfig

from bench.peers.serve import Generate, serve, timed

DTYPES = ("bfloat16", "float32")
TRIALS = 4
TRIAL = ([1] * 64, 12)  # a prompt and how many tokens follow it, to find the faster dtype


def main() -> None:
    serve(lambda: prepare(Path(sys.argv[1]), int(sys.argv[2])))


def prepare(source: Path, threads: int) -> tuple[Generate, dict[str, Any]]:
    torch.set_num_threads(threads)
    generators = {dtype: load(source, dtype) for dtype in DTYPES}
    trials = dict.fromkeys(DTYPES, 0.0)
    for _ in range(TRIALS):  # in turns, and the best of each: a disturbance must not decide
        for dtype, generate in generators.items():
            trials[dtype] = max(trials[dtype], trial(generate))
    dtype = max(trials, key=trials.__getitem__)
    return generators[dtype], {
        "version": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": dtype,
        "threads": threads,
        "trials": trials,
    }


def load(source: Path, dtype: str) -> Generate:
    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        dtype=getattr(torch, dtype),
        quantization_config=GgufConfig(dequantize=True),  # ordinary weights: the same problem for all peers
        local_files_only=True,
    ).eval()

    def generate(prompt: list[int], count: int) -> Iterator[int]:
        with torch.inference_mode():
            cache, ids = DynamicCache(config=model.config), torch.tensor([prompt])
            for _ in range(count):
                # Logits of the last position only, as the others compute it.
                out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                ids = out.logits[:, -1].argmax(-1, keepdim=True)
                yield int(ids)

    return generate


def trial(generate: Generate) -> float:
    """Tokens per second of a short generation."""
    return (TRIAL[1] - 1) / timed(generate, *TRIAL)["rest"]


if __name__ == "__main__":
    main()
