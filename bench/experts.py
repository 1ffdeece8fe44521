# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A mixture of experts on the CPU, beside PyTorch: `python -m bench.experts`, about two minutes.

A Qwen3-MoE of 457 M parameters, 104 M of which a token needs, with random weights; nothing is kept. PyTorch runs
Hugging Face's model in bfloat16, with the experts implementation that transformers chooses.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import mk
import torch
from mk.measure import measure
from mk.runtime.native import physical_cores
from transformers import DynamicCache, Qwen3MoeConfig, Qwen3MoeForCausalLM

from bench import machine
from bench.results import Spread

CONFIG = {
    "hidden_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 4,
    "head_dim": 64, "num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 512,
    "norm_topk_prob": True, "vocab_size": 32000, "tie_word_embeddings": True, "max_position_embeddings": 2048,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.experts", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the prompt (default: 128)")
    parser.add_argument("--tokens", type=int, default=96, help="tokens that follow it (default: 96)")
    options = parser.parse_args()
    torch.set_num_threads(physical_cores())
    model = random_model().bfloat16()
    parameters = sum(p.numel() for p in model.parameters())
    program = mk.compile_module(model, max_sequences=1, max_length=512, use_cache=False)
    found: dict[str, list[float]] = {
        name: [] for name in ("decode", "share", "prefill", "torch", "torch prefill")
    }
    with program.engine() as engine:
        print(machine.describe(machine.machine()))
        print(
            f"{parameters / 1e6:.0f} M parameters, of which a token reads {engine.step_bytes / 1e6:.0f} MB "
            f"of {program.manifest['arenas']['stream'] / 1e6:.0f} MB in bfloat16"
        )
        measure(engine, options.prompt, 16)
        for _ in range(options.rounds):
            ours = measure(engine, options.prompt, options.tokens)
            theirs = peer(model, options.prompt, options.tokens)
            found["decode"].append(ours.rate)
            found["share"].append(ours.share)
            found["prefill"].append(ours.prompt_rate)
            found["torch"].append(theirs[1])
            found["torch prefill"].append(theirs[0])
    for name, values in found.items():
        spread = Spread.of(values)
        print(f"{name:14} {spread.median:8.2f} ({spread.low:.2f}-{spread.high:.2f})")
    ratios = Spread.of(one / other for one, other in zip(found["decode"], found["torch"], strict=True))
    print(f"{'mk / torch':14} {ratios.median:8.2f} ({ratios.low:.2f}-{ratios.high:.2f})")


def random_model() -> Any:
    """Weights that keep activations in size, so that routers decide between experts."""
    torch.manual_seed(0)
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**CONFIG)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    return model


def peer(model: Any, prompt: int, tokens: int) -> tuple[float, float]:
    """Tokens per second of prompt and generation in eager PyTorch."""
    began = time.perf_counter()
    steps = generate(model, [index % model.config.vocab_size for index in range(prompt)])
    next(steps)
    first = time.perf_counter()
    for _ in range(tokens - 1):
        next(steps)
    return prompt / (first - began), (tokens - 1) / (time.perf_counter() - first)


def generate(model: Any, prompt: list[int]) -> Iterator[int]:
    with torch.inference_mode():
        cache, ids = DynamicCache(config=model.config), torch.tensor([prompt])
        while True:
            out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            ids = out.logits[:, -1].argmax(-1, keepdim=True)
            yield int(ids)


if __name__ == "__main__":
    main()
