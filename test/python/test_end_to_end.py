# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A small Hugging Face model through everything: import, compile, cache, package, engine; against PyTorch."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
from mk.runtime import cache
from models import tiny_llama

SIZES = {"max_sequences": 3, "max_length": 128, "max_tokens": 16, "max_rows": 8}
PROMPT = [1, 5, 9, 77, 33, 2, 8, 120, 44, 3, 17, 99, 100, 101, 7, 6, 5, 4, 3, 2, 1]


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    model.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def program(folder: Path, own_cache: None) -> mk.Program:
    return mk.compile_module(folder, dtype="float32", **SIZES)


@pytest.fixture
def engine(program: mk.Program):
    with program.engine() as engine:
        yield engine


def reference(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def test_logits_are_those_of_pytorch(engine: Any, model: Any):
    logits = engine.step(PROMPT, range(len(PROMPT)), [0] * len(PROMPT))
    np.testing.assert_allclose(logits, reference(model, PROMPT), atol=1e-4)


def test_generation_is_that_of_pytorch(engine: Any, model: Any):
    history = list(PROMPT)
    for token in engine.generate(PROMPT, max_new_tokens=40):
        logits = reference(model, history)[-1]
        assert logits[token] >= logits.max() - 1e-3  # a near tie may go either way
        history.append(token)
    assert len(history) == len(PROMPT) + 40


def test_a_token_does_not_depend_on_its_batch(engine: Any):
    other = [150, 3, 9, 14]
    engine.step(PROMPT, range(len(PROMPT)), [0] * len(PROMPT), rows=[])
    engine.step(other, range(4), [2] * 4, rows=[])
    both = engine.step([11, 12], [len(PROMPT), 4], [0, 2])
    alone = [engine.step([11], [len(PROMPT)], [0])[0], engine.step([12], [4], [2])[0]]
    np.testing.assert_array_equal(both, alone)


def test_sampling_repeats_with_its_seed_only(engine: Any):
    def draw(**options: Any) -> list[int]:
        return list(engine.generate(PROMPT, max_new_tokens=30, **options))

    first = draw(temperature=1.0, seed=1)
    assert first == draw(temperature=1.0, seed=1)
    assert first != draw(temperature=1.0, seed=2)
    assert draw(temperature=1.0, top_k=1, seed=3) == draw()


def test_rules_that_keep_every_token_draw_as_none_do(engine: Any):
    def draw(**rules: Any) -> list[int]:
        return [
            t
            for seed in range(4)
            for t in engine.generate(PROMPT, max_new_tokens=30, temperature=2.0, seed=seed, **rules)
        ]

    below_one = float(np.nextafter(np.float32(1), np.float32(0)))  # searched for, unlike 1, and keeps as much
    for top_k in (0, 160, 1000):
        for top_p in (1.0, below_one):
            assert draw(top_k=top_k, top_p=top_p) == draw()
    assert draw(top_k=100) != draw() and draw(top_p=0.9) != draw()


def test_stops_and_cancels(engine: Any):
    tokens = list(engine.generate(PROMPT, max_new_tokens=30))
    stop = next(t for i, t in enumerate(tokens) if i > 3 and t not in tokens[:i])
    assert list(engine.generate(PROMPT, max_new_tokens=30, stop_ids=[stop])) == tokens[: tokens.index(stop)]
    assert list(itertools.islice(engine.generate(PROMPT, max_new_tokens=90), 3)) == tokens[:3]
    assert list(engine.generate(PROMPT, max_new_tokens=30)) == tokens


def test_a_prompt_to_the_last_position(engine: Any, model: Any):
    long = [(7 * i) % 160 for i in range(128)]
    logits = engine.step(long, range(128), [1] * 128, rows=[127])
    np.testing.assert_allclose(logits[0], reference(model, long)[-1], atol=1e-4)
    assert len(list(engine.generate(long, max_new_tokens=1))) == 1


def test_second_compile_comes_from_the_cache(program: mk.Program, folder: Path, engine: Any):
    again = mk.compile_module(folder, dtype="float32", **SIZES)
    assert list(again.seconds) == ["load program"] and again.code == program.code
    with again.engine() as warm:
        assert warm.warm
        np.testing.assert_array_equal(warm.step([5], [0], [0]), engine.step([5], [0], [0]))
    assert len(list((cache.folder() / "programs").iterdir())) == 1
    other = mk.compile_module(folder, dtype="bfloat16", **SIZES)
    assert "compile" in other.seconds


def test_module_in_memory_brings_its_own_weights(model: Any, own_cache: None, engine: Any):
    for _ in range(2):  # the second program comes from the cache
        compiled = mk.compile_module(model, dtype="float32", **SIZES)
        with compiled.engine() as other:
            np.testing.assert_array_equal(other.step([5], [0], [0]), engine.step([5], [0], [0]))
    assert "compile" not in compiled.seconds


def test_package_runs_with_other_weights(program: mk.Program, tmp_path: Path):
    program.save(tmp_path / "tiny.mkp")
    changed = tiny_llama(seed=1)
    with mk.load(tmp_path / "tiny.mkp").engine(changed) as engine:
        logits = engine.step(PROMPT[:5], range(5), [0] * 5)
    np.testing.assert_allclose(logits, reference(changed, PROMPT[:5]), atol=1e-4)


def test_max_length_need_not_be_whole_pages(model: Any, own_cache: None):
    program = mk.compile_module(model, dtype="float32", **{**SIZES, "max_length": 100})
    sizes = program.manifest["sizes"]
    assert (sizes["max_length"], sizes["slot_pages"], sizes["page"]) == (100, 2, 64)
    long = [(7 * i) % 160 for i in range(101)]
    with program.engine() as engine:
        logits = engine.step(long[:100], range(100), [1] * 100, rows=[99])
        np.testing.assert_allclose(logits[0], reference(model, long[:100])[-1], atol=1e-4)
        assert len(list(engine.generate(long[:90], max_new_tokens=11))) == 11
        with pytest.raises(mk.InputError, match="max_length is 100"):
            engine.generate(long, max_new_tokens=1)
        with pytest.raises(mk.InputError, match="room for 11 new tokens"):
            engine.generate(long[:90], max_new_tokens=12)


def test_max_length_is_at_most_the_models(folder: Path, own_cache: None):
    assert mk.compile_module(folder, max_sequences=1).manifest["sizes"]["max_length"] == 256
