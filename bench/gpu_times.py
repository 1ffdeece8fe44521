# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What noting times costs on a GPU: `python -m bench.gpu_times PLAIN.mkp TRACED.mkp [OUT.pftrace]`.

The packages are one model compiled elsewhere without and with `trace=True`; the weights are made up here. Checks what
noting times costs and that it changes no bits, that times are in order, and prints the profile; with OUT it writes the
trace, which needs perfetto.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "python"))

CONTEXT, ROUNDS = 512, 9
MOST = 0.03  # of a step, that noting times may cost


def main() -> None:
    """Exits with 1 at the first promise that is not kept."""
    import mk
    import numpy as np
    from mk import timeline
    from mk.explain import explain_times
    from mk.runtime.times import STAMPS

    from bench.gpu.mk_side import Decoder

    plain, traced = (mk.load(path) for path in sys.argv[1:3])
    with plain.engine("random") as one, traced.engine("random", trace_steps=8) as two:
        ids = np.random.default_rng(0).integers(0, one.vocabulary, 40)
        logits = [engine.step(ids, range(40), [0] * 40) for engine in (one, two)]
        report("bits", np.array_equal(*logits), "logits with and without times")
        sides = [Decoder(engine, 1, CONTEXT) for engine in (one, two)]
        ms = np.array([[side.turn(1)[0]["ms"] for side in sides] for _ in range(ROUNDS)])
        cost = statistics.median(ms[:, 1] / ms[:, 0]) - 1
        without, with_times = np.median(ms, axis=0)
        report(
            "cost", cost < MOST, f"{without:.3f} ms a step, {with_times:.3f} with times: {100 * cost:.1f} %"
        )
        times = two.times()
        exists = np.arange(times.stamps.shape[2]) < traced.arrays["counts"][:, None]
        stamps, ring = times.stamps[:, exists, :STAMPS], times.stamps[:, exists, STAMPS]
        report("order", bool((np.diff(stamps) >= 0).all()), "begin of wait and body, end, signal")
        report("ring", bool((ring >= 0).all() and ring.any()), f"at most {ring.max()} ns in a body")
        span = np.mean([step.max() - step.min() for step in stamps]) / 1e6
        report(
            "length",
            0.8 < span / with_times < 1.2,
            f"{span:.3f} ms between the first and the last time of a step",
        )
        found = timeline.of(two)
    explain_times(found, found.ceiling, listing=False)
    if len(sys.argv) > 3:
        found.write(sys.argv[3])


def report(what: str, good: bool, detail: str) -> None:
    print(f"{what:8} {'ok' if good else 'FAILED'}: {detail}", flush=True)
    if not good:
        sys.exit(1)


if __name__ == "__main__":
    main()
