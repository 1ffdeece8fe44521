# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Language models with code of their own that asks for the number of tokens, or attends in ways of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mk
import pytest
import torch
import torch.nn.functional as F
from mk.errors import ImportModelError
from mk.importer import attention_rule, import_model
from own_models import SIZE, causal, own_model
from test_models import largest_error, logits_of
from test_numerics import HISTORY, texts, totals
from torch import Tensor


def error_of(model: Any) -> float:
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    return largest_error(model, tokens, logits_of(program, tokens))


def test_a_model_of_own_code_matches() -> None:
    assert error_of(own_model()) < 2e-4


def test_the_comparison_sees_another_model() -> None:
    model = own_model()
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    logits = logits_of(program, tokens)
    assert largest_error(own_model(rows=lambda x: x * 1.001), tokens, logits) > 2e-4


BRANCHES: dict[str, Callable[[Tensor], Tensor]] = {
    "one token": lambda x: x * 2 if x.shape[1] == 1 else x,
    "more than one": lambda x: x if x.shape[1] > 1 else x * 2,
    "a shape": lambda x: x * 2 if x.shape == (1, 1, 64) else x,
    "a remainder": lambda x: x if (x.shape[1] - 1) else x * 2,
    "all that it has": lambda x: x * 2 if x.shape[1] >= 256 else x,
}


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_on_the_number_of_tokens_are_refused(name: str) -> None:
    with pytest.raises(ImportModelError, match=r"layers\.0: its code takes another way for (1 token|256)"):
        import_model(own_model(rows=BRANCHES[name]))


@pytest.mark.parametrize(
    "rows",
    [
        lambda x: x * 2 if x.shape[1] % 7 == 3 else x,
        lambda x: x[:, : int(x.shape[1])] + range(x.shape[1])[-1],
    ],
)
def test_what_fixes_the_number_of_tokens_is_named(rows: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(
        ImportModelError, match=r"^layers\.0: cannot be exported with a variable number of tokens"
    ):
        import_model(own_model(rows=rows))


def test_squeezes_of_one_token_are_refused() -> None:
    with pytest.raises(ImportModelError, match=r"layers\.0: aten\.squeeze\.default: it drops dimensions"):
        import_model(own_model(rows=lambda x: x.squeeze().unsqueeze(0)))


@pytest.mark.parametrize("ask", [lambda n: n >= 1, lambda n: n <= 256, lambda n: n == 0, lambda n: n])
def test_questions_with_one_answer_for_all_lengths_are_none(ask: Callable[[int], bool]) -> None:
    assert error_of(own_model(rows=lambda x: x if ask(x.shape[1]) else x * 2)) < 2e-4


def test_casts_that_round_are_refused() -> None:
    for dtype, name in ((torch.half, "float16"), (torch.bfloat16, "bfloat16")):
        with pytest.raises(
            ImportModelError, match=rf"layers\.0: aten\.\S+ rounds to {name}; mk computes in float32"
        ):
            import_model(own_model(rows=lambda x, dtype=dtype: x.to(dtype).float()))


def scored(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Attention whose scores [..., n, n] go through `change`, which also masks them."""
    return lambda q, k, v: change(q @ k.transpose(-2, -1) * SIZE**-0.5).softmax(-1) @ v


def masked(scores: Tensor, visible: Tensor, hidden: float = -torch.inf) -> Tensor:
    return scores.masked_fill(~visible, hidden)


def distance(n: int) -> Tensor:
    return torch.arange(n)[:, None] - torch.arange(n)[None, :]


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "clamped at 80": lambda s: masked(s.clamp(-80, 80), causal(s.shape[-1])),
    "clamped at 500": lambda s: masked(s.clamp(-500, 500), causal(s.shape[-1])),
    "clamped from above": lambda s: masked(s.clamp(max=300), causal(s.shape[-1])),
    "capped": lambda s: masked(200 * torch.tanh(s / 200), causal(s.shape[-1])),
    "hidden by -200": lambda s: masked(s, causal(s.shape[-1]), -200.0),
    "hidden by -200 more": lambda s: s + -200.0 * ~causal(s.shape[-1]),
    "hidden by -1000 more": lambda s: s + -1000.0 * ~causal(s.shape[-1]),
}


@pytest.mark.parametrize("name", SCORES)
def test_masks_and_clamps_that_large_scores_pass_are_refused(name: str) -> None:
    with pytest.raises(
        ImportModelError, match=r"layers\.0: (it does more to its scores|its mask is neither)"
    ):
        import_model(own_model(scored(SCORES[name])))


@pytest.mark.parametrize("hidden", [-1e4, -1e9, torch.finfo(torch.float32).min])
def test_large_negative_numbers_are_masks(hidden: float) -> None:
    assert error_of(own_model(scored(lambda s: masked(s, causal(s.shape[-1]), hidden)))) < 2e-4
    assert error_of(own_model(scored(lambda s: s + hidden * ~causal(s.shape[-1])))) < 2e-4


def heads_apart(n: int, reach: int) -> Tensor:
    """The last head sees `reach` positions, the others all: [heads, n, n]."""
    reaches = torch.tensor([n, n, n, reach]).view(-1, 1, 1)
    return causal(n) & (distance(n) < reaches)


# Of more positions than 256, see below, only masks are asked; these models have 512.
FAR: dict[str, Callable[[Tensor], Tensor]] = {
    "a window of 400": lambda s: masked(s, causal(s.shape[-1]) & (distance(s.shape[-1]) < 400)),
    "a window of 400 in one head": lambda s: masked(s, heads_apart(s.shape[-1], 400)),
    "a bias of what is 300 away": lambda s: masked(
        s - 1.0 * (distance(s.shape[-1]) > 300), causal(s.shape[-1])
    ),
    "a bias of one key": lambda s: masked(s + (torch.arange(s.shape[-1]) == 400), causal(s.shape[-1])),
    "one position that sees the next": lambda s: masked(
        s, causal(s.shape[-1]) | ((distance(s.shape[-1]) == -1) & (torch.arange(s.shape[-1]) == 401))
    ),
    "a prefix from 450 on": lambda s: masked(
        s,
        causal(s.shape[-1])
        | ((torch.arange(s.shape[-1]) >= 450) & (torch.arange(s.shape[-1])[:, None] >= 450)),
    ),
    "another scale from 310 on": lambda s: masked(
        s * (1 + (torch.arange(s.shape[-1]) > 310))[:, None], causal(s.shape[-1])
    ),
}


@pytest.fixture
def few_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four heads of 256 positions are all that attention is asked about with scores."""
    monkeypatch.setattr(attention_rule, "LARGEST_PROBE", 1 << 18)


@pytest.mark.parametrize("name", FAR)
def test_masks_that_change_far_out_are_refused(name: str, few_scores: None) -> None:
    with pytest.raises(
        ImportModelError, match=r"layers\.0: (its mask is neither causal nor a sliding window|it does more)"
    ):
        import_model(own_model(scored(FAR[name]), max_position_embeddings=512))


@pytest.mark.parametrize("near", [100, 250])
def test_biases_that_change_within_what_is_asked_are_refused(near: int, few_scores: None) -> None:
    def change(s: Tensor) -> Tensor:
        return masked(s - 1.0 * (distance(s.shape[-1]) > near), causal(s.shape[-1]))

    with pytest.raises(ImportModelError, match=r"layers\.0: it does more to its scores"):
        import_model(own_model(scored(change), max_position_embeddings=512))


def test_a_causal_mask_of_512_positions_is_one(few_scores: None) -> None:
    """The control of the refusals above."""
    found = import_model(own_model(max_position_embeddings=512)).config
    assert [facts.window for facts in found.attention.values()] == [0, 0]
    assert found.max_length == 512


def test_programs_end_where_masks_were_asked() -> None:
    """A window of 5000 in the code of a model of 9000 positions is not seen, nor can it matter."""

    def change(s: Tensor) -> Tensor:
        return masked(s, causal(s.shape[-1]) & (distance(s.shape[-1]) < 5000))

    model = own_model(scored(change), max_position_embeddings=9000)
    assert import_model(model).config.max_length == 4096
    program = mk.compile_module(model, dtype="float32", max_length=9000, use_cache=False)
    assert program.manifest["sizes"]["max_length"] == 4096


def test_dropout_of_attention_is_refused() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.1, is_causal=True)

    with pytest.raises(ImportModelError, match=r"layers\.0: attention dropout is 0\.1, it must be 0"):
        import_model(own_model(attend))


# As above, with what else people write.
ATTENTION: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "by letters": lambda q, k, v: torch.einsum(
        "bhts,bhsd->bhtd",
        masked(torch.einsum("bhtd,bhsd->bhts", q, k) / 4, causal(q.shape[2])).softmax(-1),
        v,
    ),
    "by letters, heads behind tokens": lambda q, k, v: torch.einsum(
        "bhts,bshd->bthd",
        masked(
            torch.einsum("bthd,bshd->bhts", q.transpose(1, 2), k.transpose(1, 2)) / 4, causal(q.shape[2])
        ).softmax(-1),
        v.transpose(1, 2),
    ).transpose(1, 2),
    "shared keys": lambda q, k, v: F.scaled_dot_product_attention(
        q, k[:, :2], v[:, :2], is_causal=True, enable_gqa=True
    ),
    "a window": scored(lambda s: masked(s, causal(s.shape[-1]) & (distance(s.shape[-1]) < 9))),
    "slopes": scored(
        lambda s: masked(
            s - distance(s.shape[-1]) * torch.tensor([0.5, 0.25, 0.1, 0.0625])[:, None, None],
            causal(s.shape[-1]),
        )
    ),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_own_code_matches(name: str) -> None:
    assert error_of(own_model(ATTENTION[name], num_hidden_layers=1)) < 2e-4


@pytest.mark.parametrize(
    "attend",
    [
        lambda q, k, v: v.cumsum(2) / torch.arange(1, v.shape[2] + 1)[:, None],
        lambda q, k, v: torch.einsum("bhtd,bhsd->bhtd", q, k) + v,
    ],
)
def test_sums_over_tokens_that_are_no_attention_are_named(
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> None:
    with pytest.raises(ImportModelError, match=r"^layers\.0: aten\.(cumsum|einsum)\.default mixes tokens"):
        import_model(own_model(attend))


def test_attention_of_torch_matches() -> None:
    assert error_of(own_model(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))) < 2e-4
