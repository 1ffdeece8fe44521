# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs compiled programs. Needs numpy and safetensors only: no compiler, no PyTorch."""

from __future__ import annotations

from mk.runtime.engine import Engine
from mk.runtime.sampling import Sampling

__all__ = ["Engine", "Sampling"]
