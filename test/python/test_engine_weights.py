# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which weights an engine takes, and which it refuses, with the program of fake_program.c."""

from __future__ import annotations

from typing import Any

import fake_program as fake
import numpy as np
import pytest
from mk.errors import WeightError


def test_weights_may_be_given_and_replace_the_programs_own():
    changed = {**fake.weights(), "bias": np.full(fake.VOCABULARY, 100, np.float32)}
    with fake.program().engine(changed) as engine:
        difference = engine.step([3], [0], [0])[0] - fake.expected_row([3])
    np.testing.assert_allclose(difference, 100 - fake.weights()["bias"], rtol=1e-5)


@pytest.mark.parametrize("name", ["other.bias", "model.bias"])
def test_weights_are_found_under_a_tied_name_only(name: str):
    held = fake.weights()
    held[name] = held.pop("bias")
    if name == "other.bias":
        fake.program().engine(held).close()
    else:
        with pytest.raises(WeightError, match="no weight named bias"):
            fake.program().engine(held)


def test_two_names_of_a_tied_weight_have_the_same_values():
    held = fake.weights()
    held["other.bias"] = held["bias"].copy()
    fake.program().engine(held).close()
    held["other.bias"][3] += 1
    with pytest.raises(WeightError, match=r"bias and other\.bias differ, but the model ties them"):
        fake.program().engine(held)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bias", np.zeros((fake.VOCABULARY, 1), np.float32), r"bias is \[10, 1\]"),
        ("bias", np.zeros(9, np.float32), "bias: 9 rows, the program expects 10"),
        ("b.weight", np.zeros((4, 3), np.float32), r"b.weight is \[4, 3\]"),
        ("b.weight", np.zeros((4, 2), np.int8), "b.weight is int8"),
    ],
)
def test_weights_of_another_shape_are_refused(name: str, value: Any, message: str):
    with pytest.raises(WeightError, match=message):
        fake.program().engine({**fake.weights(), name: value})


def test_program_without_weights_says_so():
    with pytest.raises(WeightError, match=r"give engine\(weights=\.\.\.\)"):
        fake.program(weights=None).engine()


def test_program_whose_weights_have_moved_says_so():
    with pytest.raises(WeightError, match="the weights were in /nowhere, which is not there"):
        fake.program(weights=None, source="/nowhere").engine()
