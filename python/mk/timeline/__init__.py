# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What every worker did in the last steps: as a file for Perfetto, and as numbers per kind and layer.

from mk import timeline

with mk.compile_module(model, trace=True).engine() as engine:
    list(engine.generate(prompt, max_new_tokens=16))
    found = timeline.of(engine)
found.write("out.pftrace")  # for https://ui.perfetto.dev
rows = timeline.profile(found)  # as `mk explain --profile out.pftrace` prints it
"""

from mk.timeline.pftrace import read
from mk.timeline.profile import Row, profile
from mk.timeline.timeline import Family, Step, Timeline, of, open_traced

__all__ = ["Family", "Row", "Step", "Timeline", "of", "open_traced", "profile", "read"]
