# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m bench.gpu.torch_side CASE [tuned]: the fastest PyTorch that we know how to write, to be timed.

Fused projections, the whole model in one torch.compile, and a CUDA graph of a step that is replayed. No next token is
chosen and none is fed back: this is less work than a user needs. `tuned`: inductor searches for faster kernels.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bench.gpu.nvml import Nvml
from bench.gpu.shapes import CASES, Case, Shape
from bench.gpu.side import Actions, serve

DTYPE = torch.bfloat16
SECONDS = 0.1  # of every sample
_CACHE = 128  # a cache has room for the context, rounded up to this: every position of it is read


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, kv = shape.heads * shape.head, shape.kv_heads * shape.head
        self.norm1, self.norm2 = (nn.Parameter(torch.ones(shape.hidden)) for _ in range(2))
        self.qkv = nn.Linear(shape.hidden, width + 2 * kv, bias=False)
        self.out = nn.Linear(width, shape.hidden, bias=False)
        if shape.experts:
            self.router = nn.Linear(shape.hidden, shape.experts, bias=False)
            self.gate_up = nn.Parameter(torch.empty(shape.experts, 2 * shape.ffn, shape.hidden))
            self.down = nn.Parameter(torch.empty(shape.experts, shape.hidden, shape.ffn))
        else:
            self.gate_up = nn.Linear(shape.hidden, 2 * shape.ffn, bias=False)
            self.down = nn.Linear(shape.ffn, shape.hidden, bias=False)
        if shape.qk_norm:
            self.q_norm, self.k_norm = (nn.Parameter(torch.ones(shape.head)) for _ in range(2))

    def forward(self, x: Any, cos: Any, sin: Any, position: Any, keys: Any, values: Any, mask: Any) -> Any:
        s, (batch, count, _) = self.shape, x.shape
        h = F.rms_norm(x, (s.hidden,), self.norm1, 1e-5)
        q, k, v = self.qkv(h).split([s.heads * s.head, s.kv_heads * s.head, s.kv_heads * s.head], -1)
        q = q.view(batch, count, s.heads, s.head)
        k, v = (t.view(batch, count, s.kv_heads, s.head) for t in (k, v))
        if s.qk_norm:
            q = F.rms_norm(q, (s.head,), self.q_norm, 1e-6)
            k = F.rms_norm(k, (s.head,), self.k_norm, 1e-6)

        def rotated(t: Any) -> Any:
            a, b = t.chunk(2, -1)
            return t * cos + torch.cat((-b, a), -1) * sin

        q, k, v = rotated(q).transpose(1, 2), rotated(k).transpose(1, 2), v.transpose(1, 2)
        keys[:, :, position] = k
        values[:, :, position] = v
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, count, -1))
        h = F.rms_norm(x, (s.hidden,), self.norm2, 1e-5)
        if s.experts:
            return x + self.mixture(h.view(batch * count, s.hidden)).view(batch, count, s.hidden)
        gate, up = self.gate_up(h).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def mixture(self, h: Any) -> Any:
        """The products of each row with the matrices of its experts: inductor reads these where they lie."""
        weights, chosen = self.router(h).float().softmax(-1).topk(self.shape.chosen)
        weights = (weights / weights.sum(-1, keepdim=True)).to(h.dtype)
        gate, up = torch.einsum("nh,nkih->nki", h, self.gate_up[chosen]).chunk(2, -1)
        return torch.einsum("nki,nkhi,nk->nh", F.silu(gate) * up, self.down[chosen], weights)


class Model(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.hidden))
        self.head = nn.Linear(shape.hidden, shape.vocabulary, bias=False)
        if shape.tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Any, position: Any, keys: Any, values: Any) -> Any:
        head, device = self.shape.head, tokens.device
        inverse = 1.0 / (500000.0 ** (torch.arange(0, head, 2, device=device).float() / head))
        angles = torch.outer(position.float(), inverse)
        angles = torch.cat((angles, angles), -1)
        cos, sin = (t.to(DTYPE)[None, :, None] for t in (angles.cos(), angles.sin()))
        cached = keys[0].shape[2]
        mask = (torch.arange(cached, device=device)[None] <= position[:, None])[None, None]
        x = self.embedding(tokens)
        for layer, k, v in zip(self.layers, keys, values, strict=True):
            x = layer(x, cos, sin, position, k, v, mask)
        return self.head(F.rms_norm(x[:, -1:], (self.shape.hidden,), self.norm, 1e-5))


def cache_length(context: int) -> int:
    """Positions of the cache of a step at position `context`."""
    return -(-(context + 1) // _CACHE) * _CACHE


def step_inputs(case: Case, device: str) -> tuple[Any, ...]:
    """Tokens, the position, keys and values of a step at `context`."""
    s = case.shape
    size = (case.batch, s.kv_heads, cache_length(case.context), s.head)
    keys, values = ([torch.randn(size, device=device).to(DTYPE) for _ in range(s.layers)] for _ in range(2))
    tokens = torch.randint(0, s.vocabulary, (case.batch, 1), device=device)
    return tokens, torch.tensor([case.context], device=device), keys, values


def random_model(shape: Shape, device: str) -> Model:
    """With weights that keep numbers in range."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)  # never in float32: 8B would not leave room for anybody else
    try:
        with torch.device(device):
            model = Model(shape).eval()
    finally:
        torch.set_default_dtype(default)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.02)
    return model


def captured(model: Model, inputs: tuple[Any, ...]) -> Callable[[], None]:
    """A step as a CUDA graph of the compiled model; its replay."""
    compiled = torch.compile(model, fullgraph=True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            compiled(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compiled(*inputs)
    torch.cuda.synchronize()
    return graph.replay


def milliseconds(replay: Callable[[], None], count: int) -> float:
    """Of a replay, on average."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(count):
        replay()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / count


def prepare() -> tuple[Actions, dict[str, Any]]:
    case, tuned = CASES[sys.argv[1]], sys.argv[2:] == ["tuned"]
    nvml, began = Nvml(), time.perf_counter()
    if tuned:
        import torch._inductor.config as inductor

        inductor.coordinate_descent_tuning = True
    with torch.no_grad():
        model, inputs = random_model(case.shape, "cuda"), step_inputs(case, "cuda")
        torch.cuda.synchronize()
        made = time.perf_counter()
        replay = captured(model, inputs)
        compiled = time.perf_counter()

    def replays() -> int:
        """For a sample; not asked for before the turn, when others may be at work. It also brings the clocks up."""
        return max(int(SECONDS * 1000 / milliseconds(replay, 20)), 5)

    def turn(repeat: int) -> dict[str, Any]:
        count = replays()
        milliseconds(replay, count)
        samples = [{"ms": milliseconds(replay, count)} for _ in range(repeat)]
        return {"samples": samples, "replays": count, "gpu": nvml.now()}

    def energy(seconds: float) -> dict[str, Any]:
        count = replays()

        def work() -> int:
            milliseconds(replay, count)
            return count * case.batch

        return nvml.energy(work, seconds)

    facts = {
        "device": nvml.facts(),
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "tuned": tuned,
        "cache_positions": cache_length(case.context),
        "load": {"model": made - began, "compile": compiled - made},
    }
    return {"turn": turn, "energy": energy}, facts


if __name__ == "__main__":
    serve(prepare)
