# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs programs of the target `gpu`: pure Python on cuda-bindings, which is imported when the first one is opened.

* `driver`: checked calls; `context`: the GPU and its primary context; `claim`: which process may have engines on it;
* `memory`, `code`: what lies on it;
* `device`: one run at a time, as the engine wants it; `turns`: one at a time on a GPU too; `stall`: what hung;
* `weights`: where weights come from; `arrays`, `dlpack`, `random`: the forms they have; `staging`, `packing`,
  `convert`: how they come to their places.
"""
