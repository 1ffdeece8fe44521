# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks that need a GPU. `prepare` makes what they need where there is none, `run` runs them all.

* `cases`, `reference`, `checkpoint`: the models, what they should answer, the weights of a real one;
* `check_...`: each a script, see `suite`; `sanitized` and `neighbour` are processes that they start.
"""
