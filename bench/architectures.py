# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decode of other architectures on the CPU, beside PyTorch: `python -m bench.architectures`, about ten minutes.

Models of 100 to 460 M parameters with random weights, from their configurations. PyTorch runs Hugging Face's model in
bfloat16 with a KV cache, its experts as transformers chooses. Rounds of mk and PyTorch are interleaved, and the read
bandwidth is measured after each generation. Writes bench/results/architectures-<date>.json and
docs/generated/architectures.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mk
import torch
from mk.measure import measure
from mk.runtime.native import physical_cores
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from bench import machine
from bench.peer import ROOT
from bench.results import FOLDER, Spread

_SIZES = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8, "num_attention_heads": 16,
    "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 32000, "max_position_embeddings": 2048,
    "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_EXPERTS = {"num_experts_per_tok": 4, "moe_intermediate_size": 512, "norm_topk_prob": True}
MODELS: dict[str, dict[str, Any]] = {
    "llama": _SIZES,
    "qwen2": _SIZES,
    "qwen3": _SIZES,
    "mistral": {**_SIZES, "sliding_window": 96},
    "gemma2": {**_SIZES, "sliding_window": 96},
    "gemma3_text": {**_SIZES, "sliding_window": 96},
    "phi3": _SIZES,
    "gpt2": {},  # the 124 M of its defaults
    "mixtral": {**_SIZES, "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 1024},
    "qwen3_moe": {**_SIZES, **_EXPERTS, "num_experts": 32},
}
PAGE = ROOT / "docs" / "generated" / "architectures.md"
NEEDED = 0.8  # of the read bandwidth


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.architectures", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(MODELS)} (default: all, kept)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the prompt (default: 128)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens that follow it (default: 64)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(MODELS):
        parser.error(f"no model '{unknown.pop()}'; there is: {', '.join(MODELS)}")
    torch.set_num_threads(physical_cores())
    run: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": machine.machine(),
        "settings": {key: getattr(options, key) for key in ("rounds", "prompt", "tokens")},
        "models": {},
    }
    for name in options.names or MODELS:
        run["models"][name] = compare(name, options)
        print(line(name, run["models"][name]), flush=True)
    if not options.names:
        path = FOLDER / f"architectures-{run['date']}.json"
        path.write_text(json.dumps(run, indent=1) + "\n")
        PAGE.write_text(page(run, path))
        print(f"written: {path}, {PAGE}")


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Parameters, bytes of a step, and of every round: tokens per second of mk and PyTorch, mk's share."""
    model = random_model(name)
    program = mk.compile_module(model, max_sequences=1, max_length=512, use_cache=False)
    rounds = []
    with program.engine() as engine:
        step_bytes = engine.step_bytes
        measure(engine, options.prompt, 16)
        for _ in range(options.rounds):
            ours = measure(engine, options.prompt, options.tokens)
            prompt_rate, rate = peer(model, options.prompt, options.tokens)
            rounds.append(
                {
                    "decode": ours.rate,
                    "share": ours.share,
                    "prefill": ours.prompt_rate,
                    "torch": rate,
                    "torch prefill": prompt_rate,
                }
            )
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "step_bytes": step_bytes,
        "rounds": rounds,
    }


def random_model(name: str) -> Any:
    """In bfloat16, with weights that keep activations in size, so that routers decide between experts."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **MODELS[name])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    return model.bfloat16()


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


def cells(found: dict[str, Any]) -> list[str]:
    def spread(values: Iterator[float], form: str) -> str:
        s = Spread.of(values)
        return f"{s.median:{form}} ({s.low:{form}}-{s.high:{form}})"

    rounds = found["rounds"]
    return [
        f"{found['parameters'] / 1e6:.0f}",
        f"{found['step_bytes'] / 1e6:.0f}",
        spread((r["decode"] for r in rounds), ".1f"),
        spread((r["share"] for r in rounds), ".2f"),
        spread((r["torch"] for r in rounds), ".1f"),
        spread((r["decode"] / r["torch"] for r in rounds), ".2f"),
        spread((r["prefill"] / r["torch prefill"] for r in rounds), ".2f"),
    ]


HEADS = (
    "architecture", "M parameters", "MB a token reads", "decode, tokens/s", "share of the read bandwidth",
    "PyTorch", "mk / PyTorch", "prefill, mk / PyTorch",
)  # fmt: skip


def line(name: str, found: dict[str, Any]) -> str:
    return "| " + " | ".join([name, *cells(found)]) + " |"


def page(run: dict[str, Any], path: Path) -> str:
    settings = run["settings"]
    return "\n".join(
        [
            "# Other architectures on the CPU",
            "",
            f"Made by `python -m bench.architectures`, kept in [{path.name}](../../bench/results/{path.name}):",
            f"random weights in bfloat16, a prompt of {settings['prompt']} tokens and {settings['tokens']} behind it,",
            f"one sequence. Medians of {settings['rounds']} interleaved rounds (smallest-largest); needed are {NEEDED}",
            f"of the read bandwidth and more than PyTorch. {machine.describe(run['machine'])}. {run['date']}.",
            "",
            "| " + " | ".join(HEADS) + " |",
            "|" + " --- |" * len(HEADS),
            *(line(name, found) for name, found in run["models"].items()),
            "",
        ]
    )


if __name__ == "__main__":
    main()
