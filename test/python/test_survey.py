# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The survey of all causal classes: some of them anew, its results, and its page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.survey.one import TOLERANCE, compiled, hugging_face, largest_error, ragged, texts  # noqa: E402
from bench.survey.page import PAGE, make_page  # noqa: E402
from bench.survey.runs import class_names, load_results, run_alone  # noqa: E402
from bench.survey.sizes import small_model  # noqa: E402

SAMPLE = [
    "BertLMHeadModel",
    "BloomForCausalLM",
    "DeepseekV3ForCausalLM",
    "FalconForCausalLM",
    "Gemma3ForConditionalGeneration",
]


@pytest.mark.parametrize("name", SAMPLE)
def test_some_classes_match(name: str) -> None:
    found = run_alone(name, "")
    assert found["outcome"] == "matches", found


def test_the_comparison_can_fail() -> None:
    """A gain changed by a tenth, which a wrong weight or order would look like."""
    model = small_model("LlamaForCausalLM")
    tokens = texts(model.config.vocab_size)
    logits = ragged(compiled(model, lambda **known: None), tokens)
    assert largest_error(logits, hugging_face(model, tokens)) < TOLERANCE
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight[3] += 0.1
    assert largest_error(logits, hugging_face(model, tokens)) > TOLERANCE


def test_what_does_not_exist_is_not_built() -> None:
    assert run_alone("NoSuchForCausalLM", "")["outcome"] == "not built"


def test_every_class_has_a_result_and_none_is_wrong() -> None:
    results, _ = load_results()
    assert set(results) == set(class_names())
    outcomes = [one["outcome"] for one in results.values()]
    assert outcomes.count("matches") >= 90
    assert not {"wrong", "fails"} & set(outcomes)


def test_the_page_says_what_the_results_say() -> None:
    assert PAGE.read_text() == make_page(*load_results()), "docs/generated/models.md is stale: run ./dev doc"
