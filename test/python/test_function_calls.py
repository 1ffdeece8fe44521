# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calls of a function: from several threads, and with tensors whose numbers do not simply lie in memory."""

from __future__ import annotations

import threading

import mk
import pytest
import torch
from models import randomize


@pytest.fixture(scope="module")
def pair():
    module = randomize(torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Linear(128, 64)))
    rows = ({0: torch.export.Dim("rows", max=256)},)
    with mk.compile_module(module, inputs=(torch.zeros(3, 64),), dynamic=rows) as f:
        yield module, f


def test_threads_wait_for_each_other(pair):
    module, f = pair
    inputs = [torch.randn(100 + i, 64) for i in range(4)]
    wrong: list[object] = []

    def call(x: torch.Tensor) -> None:
        expected = module(x).detach()
        try:
            wrong.extend(x for _ in range(10) if not torch.allclose(f(x), expected, atol=1e-4))
        except mk.MkError as error:
            wrong.append(error)

    threads = [threading.Thread(target=call, args=(x,)) for x in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_tensor_that_is_negated_lazily_is_read_as_it_is(pair):
    module, f = pair
    x = torch.complex(torch.zeros(3, 64), torch.randn(3, 64)).conj().imag
    assert x.is_neg()
    torch.testing.assert_close(f(x), module(x).detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr])
def test_other_layouts_are_refused(pair, make):
    with pytest.raises(mk.InputError, match=r"is a torch\.sparse_\w+ tensor; expected an ordinary one"):
        pair[1](make(torch.eye(64)))
