# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program on a real GPU against Hugging Face there, in float32 and in bfloat16.

`python3 test/gpu/check_model.py` takes the model that prepare.py made, `--model F.mkp config.json` any other. The
weights are made up here, rounded to bfloat16 first, with norms that are not one. Needs torch and transformers beside
what running a package needs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from gpu import suite
from gpu.suite import Figures, Report, require

TOKENS, NEW = 40, 32
MOST = 0.015  # relative L2 distance of the logits; a wrong column or a stale row is ten times that
CLOSE = 0.05  # two logits that are nearer may change places
TEXTS, LENGTH = 6, 96  # of random tokens, to compare with PyTorch in bfloat16
Array = np.ndarray[Any, Any]


def checks(report: Report, folder: Path) -> None:
    """With one engine; its weights are the tensors of PyTorch on the GPU."""
    place = folder / suite.SECOND / "precision"
    check_package(report, place / "model.mkp", place / "config.json")


def check_package(report: Report, package: Path, config: Path) -> None:
    """A program compiled from the folder of that configuration."""
    fields = json.loads(config.read_text())
    ignored = ("architectures", "transformers_version", "dtype")
    model = made_up(
        AutoConfig.for_model(**{name: value for name, value in fields.items() if name not in ignored})
    )
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    with mk.load(package).engine(weights) as engine:
        report.attempt("model: logits", check_logits, engine, model)
        report.attempt("model: greedy", check_greedy, engine, model)
        report.attempt("model: repeat", check_repeat, engine)
        report.attempt("model: precision", check_precision, engine, model)


def check_logits(engine: Any, model: Any) -> Figures:
    """Near those of float32; single tokens have the bits of chunks."""
    ids = tokens(engine, TOKENS, 0)
    exact = answers(model, ids)
    chunks = engine.step(ids, range(TOKENS), [1] * TOKENS)
    singles = np.concatenate([engine.step(ids[i : i + 1], [i], [0]) for i in range(TOKENS)])
    distance = relative(chunks, exact)
    require(distance <= MOST, f"relative L2 distance {distance:.2e}, expected at most {MOST}")
    require(np.array_equal(chunks, singles), "chunks of 16 and single tokens have other bits")
    return {"distance": distance, "most": MOST}


def check_greedy(engine: Any, model: Any) -> Figures:
    """The tokens of float32, up to the first that is no clear choice; after several prompts, as some end at once."""
    equal = 0
    for seed in range(TEXTS):
        prompt = tokens(engine, 8, seed).tolist()
        equal += greedy(model, prompt, list(engine.generate(prompt, max_new_tokens=NEW)))
    require(equal >= TEXTS, f"{TEXTS} prompts have only {equal} clear choices; this compares nothing")
    return {"prompts": TEXTS, "equal": equal}


def check_repeat(engine: Any) -> Figures:
    """The same tokens of one prompt, and of one seed."""
    prompt = tokens(engine, 8, 0).tolist()
    one, two = (list(engine.generate(prompt, max_new_tokens=NEW)) for _ in range(2))
    require(one == two, f"drew {one}, then {two}")
    rules: dict[str, Any] = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "max_new_tokens": 16}
    one, two = (list(engine.generate(prompt, seed=3, **rules)) for _ in range(2))
    require(one == two, f"drew {one}, then {two} with the same seed")
    return {"tokens": NEW + 16}


def check_precision(engine: Any, model: Any) -> Figures:
    """Against float32, no worse than PyTorch's own bfloat16: relative L2 distance, and KL divergence of the next
    token's distribution in nats, the mean of all tokens."""
    peer = type(model)._from_config(model.config, dtype=torch.bfloat16, attn_implementation="sdpa")
    peer.load_state_dict(model.state_dict())
    peer = peer.cuda().eval()
    exact, ours, theirs = [], [], []
    for seed in range(TEXTS):
        ids = tokens(engine, LENGTH, seed)
        engine.reset(0)
        exact.append(answers(model, ids))
        ours.append(engine.step(ids, range(LENGTH), [0] * LENGTH))
        theirs.append(answers(peer, ids))
    return compare(*(np.concatenate(rows) for rows in (exact, ours, theirs)))


def compare(exact: Array, ours: Array, theirs: Array) -> Figures:
    """Raises Failed if ours are further from the exact logits than theirs."""
    figures = {
        "distance": relative(ours, exact),
        "PyTorch's": relative(theirs, exact),
        "KL": divergence(exact, ours),
        "PyTorch's KL": divergence(exact, theirs),
    }
    require(
        figures["distance"] <= figures["PyTorch's"] and figures["KL"] <= figures["PyTorch's KL"], str(figures)
    )
    return figures


def relative(found: Array, exact: Array) -> float:
    """L2 distance, relative to the norm; of anything that is not finite it is infinite."""
    distance = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    return distance if np.isfinite(distance) else np.inf


def divergence(exact: Array, found: Array) -> float:
    """KL(softmax(exact) || softmax(found)), the mean of the rows."""
    p, q = log_softmax(exact), log_softmax(found)
    mean = float((np.exp(p) * (p - q)).sum(-1).mean())
    return mean if np.isfinite(mean) else np.inf


def log_softmax(logits: Array) -> Array:
    """float64, by rows."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def tokens(engine: Any, count: int, seed: int) -> Array:
    """Random ids, int64 [count]."""
    return np.random.default_rng(seed).integers(0, engine.vocabulary, count)


def answers(model: Any, ids: Array) -> Array:
    """float32 [T, vocabulary] of PyTorch."""
    with torch.no_grad():
        found: Array = model(torch.tensor(ids[None]).cuda()).logits[0].float().cpu().numpy()
    return found


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


def greedy(model: Any, prompt: list[int], drawn: list[int]) -> int:
    """How many tokens are equal, up to the first whose two largest logits are too close to tell."""
    given = list(prompt)
    for number, token in enumerate(drawn):
        top = model(torch.tensor([given]).cuda()).logits[0, -1].detach().topk(2)
        gap = float(top.values[0] - top.values[1])
        if gap < CLOSE:
            return number
        require(int(top.indices[0]) == token, f"token {number} differs, {gap:.3f} ahead of the next")
        given.append(token)
    return len(drawn)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--model"]:
        suite.main(
            lambda report, _: check_package(report, Path(sys.argv[2]), Path(sys.argv[3])), sys.argv[4:]
        )
    suite.main(checks)
