# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixtures of experts against Hugging Face, bit for bit against themselves, and what is refused."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.errors import MkError, WeightError
from models import (
    tiny,
    tiny_granite_moe,
    tiny_mixtral,
    tiny_olmoe,
    tiny_qwen2_moe,
    tiny_qwen3_moe,
    with_eager_experts,
)
from test_numerics import HISTORY, Ragged, largest_error, reference, texts, totals

CASES: dict[str, Callable[[], Any]] = {
    "mixtral": tiny_mixtral,
    "one of three": lambda: tiny_mixtral(num_local_experts=3, num_experts_per_tok=1),
    "all of three": lambda: tiny_mixtral(num_local_experts=3, num_experts_per_tok=3),
    "qwen3": tiny_qwen3_moe,
    "qwen3, weights as they are": lambda: tiny_qwen3_moe(norm_topk_prob=False),
    "first layer dense": lambda: tiny_qwen3_moe(mlp_only_layers=[0]),
    "odd widths": lambda: tiny_qwen3_moe(moe_intermediate_size=37, num_experts=9),
    "olmoe": tiny_olmoe,
    "shared expert": tiny_qwen2_moe,
    "probabilities of the chosen": tiny_granite_moe,
}


@pytest.mark.parametrize("name", CASES)
def test_ragged_steps_match_hugging_face(name: str) -> None:
    assert largest_error(CASES[name]()) < 2e-4


def change_normalization(model: Any) -> None:
    for layer in model.model.layers:
        layer.mlp.gate.norm_topk_prob = False


def swap_experts(model: Any) -> None:
    """Two experts of one layer change places, but not their rows of the router."""
    with torch.no_grad():
        down = model.model.layers[1].mlp.experts.down_proj
        down[[2, 5]] = down[[5, 2]].clone()


def open_shared_gate(model: Any) -> None:
    """The shared expert as if its gate had no say: half of it in every row."""
    with torch.no_grad():
        model.model.layers[0].mlp.shared_expert_gate.weight.zero_()


def choose_fewer(model: Any) -> None:
    for layer in model.model.layers:
        layer.mlp.gate.top_k -= 1


@pytest.mark.parametrize("change", [change_normalization, swap_experts, choose_fewer])
def test_the_comparison_can_fail(change: Callable[[Any], None]) -> None:
    """The same comparison with a model that differs in its router or in the order of its experts."""
    model, changed = tiny_qwen3_moe(), tiny_qwen3_moe()
    change(changed)
    assert largest_error(model, changed) > 2e-4


def choices(model: Any, tokens: list[int]) -> np.ndarray[Any, Any]:
    """The experts [tokens, k] that the first layer chooses, ascending."""
    found: list[Any] = []
    hook = model.model.layers[0].mlp.gate.register_forward_hook(
        lambda module, args, result: found.append(result[2].sort(-1).values.numpy())
    )
    with torch.no_grad():
        model(torch.tensor([tokens]))
    hook.remove()
    return found[0]


def test_the_gate_of_a_shared_expert_is_noticed() -> None:
    model, changed = tiny_qwen2_moe(), tiny_qwen2_moe()
    open_shared_gate(changed)
    assert largest_error(model, changed) > 2e-4


def test_tokens_of_the_history_choose_different_experts() -> None:
    """Otherwise the comparisons above would show nothing: every expert is chosen, no two tokens alike."""
    chosen = choices(tiny_mixtral(), texts(160, totals(HISTORY))[0])
    assert (np.bincount(chosen.reshape(-1), minlength=8) > 0).all()
    assert len(np.unique(chosen, axis=0)) > 8


def run_history(engine: Any, tokens: dict[int, list[int]]) -> dict[int, Any]:
    for slot in tokens:
        engine.reset(slot)
    ragged = Ragged(engine, tokens)
    ragged.run(HISTORY)
    return {slot: ragged.rows(slot) for slot in tokens}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_token_depends_on_its_batch_or_the_workers(dtype: str) -> None:
    """Mixed steps, one token at a time, and other numbers of workers: the same bits, whatever else was chosen."""
    model = tiny_qwen3_moe(seed=1)
    tokens = texts(160, totals(HISTORY), seed=2)
    first: dict[int, Any] = {}
    for workers in (2, 1, 3):
        program = mk.compile_module(
            model, dtype=dtype, max_length=128, split=64, workers=workers, use_cache=False
        )
        with program.engine() as engine:
            rows = run_history(engine, tokens)
            first = first or rows
            for slot in tokens:
                assert np.array_equal(rows[slot], first[slot]), f"{workers} workers, slot {slot}"
            for slot in tokens if workers == 2 else ():
                engine.reset(slot)
                alone = Ragged(engine, {slot: tokens[slot]})
                alone.run([[(slot, 1)]] * len(tokens[slot]))
                assert np.array_equal(rows[slot], alone.rows(slot)), f"slot {slot}"


@pytest.mark.parametrize("without", [("experts",), ("narrow",), ("norm", "residual")])
def test_fusions_change_no_bit(without: tuple[str, ...]) -> None:
    model = tiny_mixtral(seed=3)
    tokens = texts(160, totals(HISTORY), seed=4)
    results = []
    for left_out in ((), without):
        program = mk.compile_module(
            model, dtype="bfloat16", max_length=128, split=64, without=left_out, use_cache=False
        )
        with program.engine() as engine:
            results.append(run_history(engine, tokens))
    for slot in tokens:
        assert np.array_equal(results[0][slot], results[1][slot])


def test_bfloat16_is_as_near_as_pytorch() -> None:
    """Against float32 with the same rounded weights, no worse than 1.5 times PyTorch's own bfloat16. Only tokens count
    of which both choose the experts of float32: rounding may decide between two experts, and then all is different."""
    model = tiny_mixtral(seed=3, num_hidden_layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    tokens = texts(160, {0: 64}, seed=5)[0]
    expected, wide = reference(model, tokens), choices(model, tokens)
    program = mk.compile_module(model, dtype="bfloat16", max_length=128, split=64, use_cache=False)
    with program.engine() as engine:
        ours = engine.step(tokens, range(64), [0] * 64)
    with torch.no_grad():
        peer = model.bfloat16()(torch.tensor([tokens])).logits[0].float().numpy()
    narrow = choices(model, tokens)
    distance = np.linalg.norm(ours - expected, axis=1) / np.linalg.norm(expected, axis=1)
    same = (wide == narrow).all(-1) & (distance < 0.1)
    assert same.mean() > 0.9

    def error(logits: np.ndarray[Any, Any]) -> float:
        return float(np.linalg.norm((logits - expected)[same]) / np.linalg.norm(expected[same]))

    assert 0 < error(ours) <= 1.5 * error(peer)


def test_only_chosen_experts_are_looked_at() -> None:
    """Memory of experts that no token chooses may hold anything."""
    model = tiny_mixtral(num_hidden_layers=1)
    expected, chosen = reference(model, [7]), choices(model, [7])
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    weights = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    others = [e for e in range(8) if e not in chosen[0]]
    for name in ("gate_up_proj", "down_proj"):
        weights[f"model.layers.0.mlp.experts.{name}"][others] = 1e30
    with program.engine(weights=weights) as engine:
        logits = engine.step([7], [0], [0])
    assert np.abs(logits - expected).max() / np.abs(expected).max() < 2e-4


def test_bytes_of_a_step_are_those_of_the_chosen_experts() -> None:
    few, all_of_them = (
        mk.compile_module(
            tiny_mixtral(num_experts_per_tok=k), dtype="float32", max_length=128, use_cache=False
        )
        for k in (2, 8)
    )
    with few.engine() as engine, all_of_them.engine() as other:
        assert (
            other.step_bytes == all_of_them.manifest["arenas"]["stream"] == few.manifest["arenas"]["stream"]
        )
        matrices = 3 * 96 * 64 * 4  # gate, up and down of an expert
        assert other.step_bytes - engine.step_bytes == 2 * 6 * matrices


@pytest.mark.parametrize("make", [tiny_mixtral, tiny_qwen3_moe, tiny_olmoe])
def test_folders_keep_experts_one_by_one(make: Callable[[], Any], tmp_path: Path) -> None:
    """Compiled from the folder, from a package that reads it later, and from a config with the folder's weights; one
    expert's tensor missing is an error."""
    from safetensors.numpy import load_file, save_file

    model = make()
    model.save_pretrained(tmp_path)
    tokens = texts(160, {0: 20})[0]
    expected = reference(model, tokens)
    program = mk.compile_module(tmp_path, dtype="float32", max_length=128, use_cache=False)
    program.save(tmp_path / "program.mkp")
    of_model = mk.compile_module(model.config, dtype="float32", max_length=128, use_cache=False)
    for one, weights in ((program, None), (mk.load(tmp_path / "program.mkp"), None), (of_model, tmp_path)):
        with one.engine(weights=weights) as engine:
            logits = engine.step(tokens, range(20), [0] * 20)
        assert np.abs(logits - expected).max() / np.abs(expected).max() < 2e-4
    file = tmp_path / "model.safetensors"
    arrays = load_file(file)
    assert any(".experts.7." in name for name in arrays)
    save_file({name: array for name, array in arrays.items() if ".experts.7." not in name}, file)
    with pytest.raises(WeightError, match=r"experts\.(down_proj|gate_up_proj)"):
        mk.compile_module(tmp_path, dtype="float32", max_length=128, use_cache=False)


def of_gelu() -> Any:
    model = tiny_mixtral()
    for layer in model.model.layers:
        layer.mlp.experts.act_fn = torch.nn.GELU()
    return model


def gpt_oss(biases: bool = True) -> Any:
    """Experts whose matrices are transposed, with gate and up columns by turns and biases; a gate of its own."""
    model = with_eager_experts(tiny("GptOss", num_local_experts=4, num_experts_per_tok=2, head_dim=16))
    model.set_attn_implementation("eager")
    if not biases:
        with torch.no_grad():
            model.model.layers[1].mlp.experts.gate_up_proj_bias.zero_()
    return model


@pytest.mark.parametrize(
    ("make", "other"),
    [(of_gelu, tiny_mixtral), (gpt_oss, lambda: gpt_oss(biases=False))],
)
def test_experts_of_another_kind_match_hugging_face(
    make: Callable[[], Any], other: Callable[[], Any]
) -> None:
    """All of them meet each row; what makes them another kind would be noticed."""
    model = make()
    assert largest_error(model) < 2e-4
    assert largest_error(model, other()) > 2e-4


def test_other_routers_choose_by_their_own_rule() -> None:
    """Sigmoids, of which a bias helps to choose and does not count, as numbers instead of a pattern."""
    model = tiny_mixtral()
    for layer in model.model.layers:
        router = layer.mlp.gate
        router.bias = torch.nn.Parameter(torch.linspace(-1, 1, router.weight.shape[0]))

        def choose(rows: Any, router: Any = router, helped: bool = True) -> Any:
            scores = torch.nn.functional.linear(rows.reshape(-1, 64), router.weight).sigmoid()
            experts = torch.topk(scores + router.bias if helped else scores, 2, dim=-1)[1]
            weights = scores.gather(1, experts)
            return scores, weights / (weights.sum(-1, keepdim=True) + 1e-6) * 1.5, experts

        router.forward = choose
    changed = copy.deepcopy(model)
    for layer in changed.model.layers:
        layer.mlp.gate.forward = functools.partial(choose, router=layer.mlp.gate, helped=False)
    assert largest_error(model) < 2e-4
    assert largest_error(model, changed) > 2e-4


def test_odd_widths_are_refused_for_a_gpu_with_the_module() -> None:
    with pytest.raises(
        MkError,
        match=r"model\.layers\.0\.mlp\.experts.*expected a multiple of 32 columns, found 111",
    ) as error:
        model = tiny_qwen3_moe(head_dim=32, moe_intermediate_size=37)
        mk.compile_module(model, target="sm_90a", use_cache=False)
    assert "\n" not in str(error.value).strip()
