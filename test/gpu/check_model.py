# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program on a real GPU against Hugging Face in float32: `python3 test/gpu/check_model.py F.mkp config.json`.

The package is compiled elsewhere from the folder of the configuration; the weights are made up here, rounded to
bfloat16 first, with norms that are not one. Needs torch and transformers beside what running a package needs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))

import mk
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS, NEW = 40, 32
MOST = 0.015  # relative L2 distance of the logits; a wrong column or a stale row is ten times that
CLOSE = 0.05  # two logits that are nearer may change places


def main() -> None:
    package, config = sys.argv[1:]
    fields = json.loads(Path(config).read_text())
    model = made_up(
        AutoConfig.for_model(
            **{k: v for k, v in fields.items() if k not in ("architectures", "transformers_version")}
        )
    )
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, TOKENS)
    exact = model(torch.tensor(ids[None]).cuda()).logits[0].detach().cpu().numpy()
    with mk.load(package).engine(weights) as engine:
        chunks = engine.step(ids, range(TOKENS), [1] * TOKENS)
        singles = np.concatenate([engine.step(ids[i : i + 1], [i], [0]) for i in range(TOKENS)])
        distance = float(np.linalg.norm(chunks - exact) / np.linalg.norm(exact))
        report("logits", distance <= MOST, f"relative L2 distance {distance:.2e}")
        report("batches", np.array_equal(chunks, singles), "chunks of 16 and single tokens, bitwise")
        prompt = ids[:8].tolist()
        drawn = list(engine.generate(prompt, max_new_tokens=NEW))
        report("greedy", *greedy(model, prompt, drawn))
        report("repeat", drawn == list(engine.generate(prompt, max_new_tokens=NEW)), "the same tokens twice")
        rules: dict[str, Any] = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "max_new_tokens": 16}
        one, two = (list(engine.generate(prompt, seed=3, **rules)) for _ in range(2))
        report("sample", one == two, "the same draws of one seed")


def made_up(config: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().cuda()
    model.config._attn_implementation = "eager"
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn_like(weight)
            if weight.dim() == 1:
                weight.copy_(1 + 0.2 * noise)
            else:
                weight.copy_((noise * weight.shape[-1] ** -0.5).bfloat16().float())
    return model


def greedy(model: Any, prompt: list[int], drawn: list[int]) -> tuple[bool, str]:
    """Equal up to the first token whose two largest logits are too close to tell."""
    tokens = list(prompt)
    for number, token in enumerate(drawn):
        top = model(torch.tensor([tokens]).cuda()).logits[0, -1].detach().topk(2)
        gap = float(top.values[0] - top.values[1])
        if gap < CLOSE:
            return True, f"{number} tokens equal, then two are {gap:.3f} apart"
        if int(top.indices[0]) != token:
            return False, f"token {number} differs, {gap:.3f} ahead of the next"
        tokens.append(token)
    return True, f"{len(drawn)} tokens equal"


def report(what: str, good: bool, detail: str) -> None:
    print(f"{what:8} {'ok' if good else 'FAILED'}: {detail}", flush=True)
    if not good:
        sys.exit(1)


if __name__ == "__main__":
    main()
