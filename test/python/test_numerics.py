# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole programs against Hugging Face, and bit for bit against themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.demo import find_model
from mk.runtime.engine import Engine
from models import tiny_llama, tiny_qwen3

# A ragged history: each step is a list of (slot, number of next tokens). Slots come out of order, prompts in
# chunks of different sizes, and decode mixes with prefill.
HISTORY = [
    [(3, 5)],
    [(0, 17), (3, 1)],
    [(5, 2), (0, 1), (3, 9)],
    [(0, 1), (3, 1), (5, 1)],
    [(5, 30), (3, 1)],
    [(5, 1), (0, 1), (3, 1)],
]


class Ragged:
    """Runs a history of ragged steps through an engine; `logits[slot]` grows by a row per token."""

    def __init__(self, engine: Engine, tokens: dict[int, list[int]]) -> None:
        self.engine, self.tokens = engine, tokens
        self.done = dict.fromkeys(tokens, 0)
        self.logits: dict[int, list[np.ndarray[Any, Any]]] = {slot: [] for slot in tokens}

    def run(self, history: list[list[tuple[int, int]]]) -> None:
        for step in history:
            tokens: list[int] = []
            positions: list[int] = []
            slots: list[int] = []
            for slot, count in step:
                begin = self.done[slot]
                tokens += self.tokens[slot][begin : begin + count]
                positions += range(begin, begin + count)
                slots += [slot] * count
                self.done[slot] = begin + count
            for slot, row in zip(slots, self.engine.step(tokens, positions, slots), strict=True):
                self.logits[slot].append(row)

    def rows(self, slot: int) -> np.ndarray[Any, Any]:
        return np.stack(self.logits[slot])


def texts(vocabulary: int, lengths: dict[int, int], seed: int = 0) -> dict[int, list[int]]:
    generator = np.random.default_rng(seed)
    return {slot: generator.integers(0, vocabulary, n).tolist() for slot, n in lengths.items()}


def totals(history: list[list[tuple[int, int]]]) -> dict[int, int]:
    lengths: dict[int, int] = {}
    for step in history:
        for slot, count in step:
            lengths[slot] = lengths.get(slot, 0) + count
    return lengths


def reference(model: Any, tokens: list[int]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].numpy()


def largest_error(model: Any, changed: Any = None, **options: Any) -> float:
    """Of the program of `model` over the whole history, relative to the largest logit of `changed` (or of itself)."""
    program = mk.compile_module(
        model, **{"dtype": "float32", "max_length": 128, "split": 64, "use_cache": False, **options}
    )
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    with program.engine() as engine:
        ragged = Ragged(engine, tokens)
        ragged.run(HISTORY)
    errors = []
    for slot, ids in tokens.items():
        expected = reference(changed or model, ids)
        errors.append(float(np.abs(ragged.rows(slot) - expected).max() / np.abs(expected).max()))
    return max(errors)


CASES = {
    "plain": {},
    "tied": {"tied": True},
    "llama3 rope": {"llama3_rope": True},
    "one kv head": {"num_key_value_heads": 1},
    "no grouping": {"num_key_value_heads": 4},
    "head of 24": {"hidden_size": 72, "head_dim": 24, "num_attention_heads": 3, "num_key_value_heads": 1},
    "odd widths": {"intermediate_size": 75, "vocab_size": 157},
}


@pytest.mark.parametrize("name", CASES)
def test_ragged_steps_match_hugging_face(name: str) -> None:
    assert largest_error(tiny_llama(**CASES[name])) < 2e-4


QWEN3 = {
    "plain": {},
    "tied, with biases": {"tied": True, "attention_bias": True},
    "heads wider than the rows": {"head_dim": 48, "num_key_value_heads": 4},
}


@pytest.mark.parametrize("name", QWEN3)
def test_norms_of_heads_match_hugging_face(name: str) -> None:
    assert largest_error(tiny_qwen3(**QWEN3[name])) < 2e-4


@pytest.mark.parametrize("norm", ["q_norm", "k_norm"])
def test_norms_of_heads_are_noticed(norm: str) -> None:
    """The same comparison with a model whose gains are one."""
    model, changed = tiny_qwen3(), tiny_qwen3()
    with torch.no_grad():
        getattr(changed.model.layers[1].self_attn, norm).weight.fill_(1)
    assert largest_error(model, changed) > 2e-4


def test_the_comparison_can_fail() -> None:
    """A norm gain changed by a tenth, which a wrong weight or order would look like."""
    model = tiny_llama()
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    tokens = texts(160, {0: 20})[0]
    with program.engine() as engine:
        logits = engine.step(tokens, range(20), [0] * 20)
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight[3] += 0.1
    expected = reference(model, tokens)
    assert np.abs(logits - expected).max() / np.abs(expected).max() > 2e-4


@pytest.mark.parametrize("make", [tiny_llama, tiny_qwen3])
def test_bfloat16_is_as_near_as_pytorch(make: Callable[..., Any]) -> None:
    """Against float32 with the same rounded weights, no worse than 1.5 times PyTorch's own bfloat16."""
    model = make(seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    tokens = texts(160, {0: 64}, seed=5)[0]
    expected = reference(model, tokens)
    program = mk.compile_module(model, dtype="bfloat16", max_length=128, split=64, use_cache=False)
    with program.engine() as engine:
        ours = engine.step(tokens, range(64), [0] * 64)
    with torch.no_grad():
        peer = model.bfloat16()(torch.tensor([tokens])).logits[0].float().numpy()

    def error(logits: np.ndarray[Any, Any]) -> float:
        return float(np.linalg.norm(logits - expected) / np.linalg.norm(expected))

    assert error(ours) <= 1.5 * error(peer)
    assert error(ours) > 0


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def steady(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, dict[int, list[int]]]]:
    model = tiny_llama(tied=True, seed=1)
    program = mk.compile_module(model, dtype=request.param, max_length=128, split=64, use_cache=False)
    with program.engine() as engine:
        yield engine, texts(160, totals(HISTORY), seed=2)


def alone(engine: Engine, tokens: dict[int, list[int]], slot: int) -> np.ndarray[Any, Any]:
    engine.reset(slot)
    ragged = Ragged(engine, {slot: tokens[slot]})
    ragged.run([[(slot, 1)]] * len(tokens[slot]))
    return ragged.rows(slot)


def test_no_token_depends_on_its_batch(steady: tuple[Engine, dict[int, list[int]]]) -> None:
    """Mixed steps, chunks, and one token at a time: the same bits."""
    engine, tokens = steady
    for slot in tokens:
        engine.reset(slot)
    ragged = Ragged(engine, tokens)
    ragged.run(HISTORY)
    for slot in tokens:
        assert np.array_equal(ragged.rows(slot), alone(engine, tokens, slot)), f"slot {slot}"


def test_every_run_gives_the_same_bits(steady: tuple[Engine, dict[int, list[int]]]) -> None:
    engine, tokens = steady
    first = None
    for _ in range(100):
        for slot in tokens:
            engine.reset(slot)
        ragged = Ragged(engine, tokens)
        ragged.run(HISTORY)
        bits = np.concatenate([ragged.rows(slot) for slot in tokens]).tobytes()
        first = first or bits
        assert bits == first


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_number_of_workers_changes_no_bit(dtype: str) -> None:
    model = tiny_llama(seed=4)
    tokens = texts(160, totals(HISTORY), seed=6)
    results = []
    for workers in (1, 2, 3):
        program = mk.compile_module(
            model, dtype=dtype, max_length=128, split=64, workers=workers, use_cache=False
        )
        with program.engine() as engine:
            ragged = Ragged(engine, tokens)
            ragged.run(HISTORY)
        results.append(np.concatenate([ragged.rows(slot) for slot in tokens]))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


PROMPTS = [
    "The capital of France is",
    "Water boils at a temperature of",
    "def fibonacci(n):",
    "Once upon a time, in a small village by the sea,",
    "The three states of matter are",
    "Dear Sir or Madam, I am writing to",
    "1, 2, 3, 5, 8, 13,",
    "A compiler is a program that translates",
]


def test_smollm2_greedy_tokens_equal_hugging_face(tmp_path: Path) -> None:
    """64 tokens for each prompt. Hugging Face reads prompt and answer in one pass: its greedy answer is the same
    exactly if its argmax at every position is the next token."""
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    path = find_model()
    program = mk.compile_module(path, dtype="float32", max_length=256, max_sequences=2, use_cache=False)
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    model = LlamaForCausalLM(config).eval()
    weights = mk.weights.open_weights(path)  # compared with transformers' own reader by the import tests
    state = {name: torch.from_numpy(np.array(weights[name], np.float32)) for name in weights}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    with program.engine() as engine:
        for prompt in PROMPTS:
            ids = tokenizer(prompt)["input_ids"]
            answer = list(engine.generate(ids, max_new_tokens=64))
            assert len(answer) == 64
            predicted = reference(model, ids + answer)[len(ids) - 1 : -1].argmax(-1)
            assert answer == predicted.tolist(), prompt
