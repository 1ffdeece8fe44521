# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""docs/generated/models.md, from the results of the survey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "generated" / "models.md"
Result = dict[str, Any]
STAGES = ("build", "import", "compile", "run")

HEAD = """# Models

Every class that `transformers` {transformers} has for causal language models, small and with random weights, through mk
on a CPU: imported, compiled, run on ragged steps (chunks of prompts, single tokens, three sequences), and its float32
logits compared with those of Hugging Face's eager code, within 2e-4 of the largest. `python -m bench.survey` makes the
results, [bench/survey/sizes.py](../../bench/survey/sizes.py) the models.

**{matches} of {total} classes match, {wrong} are wrong**, {refused} are refused with a reason{failing}{unbuilt}.

"Fused" is the share of a model's weights that no generic kind reads: what is left is computed by code that works, but
is not fast.
"""


def make_page(results: dict[str, Result], versions: dict[str, str]) -> str:
    """The page as text."""

    def of(outcome: str) -> list[Result]:
        return [results[name] for name in sorted(results) if results[name]["outcome"] == outcome]

    fails, unbuilt = len(of("fails")), len(of("not built"))
    text = HEAD.format(
        transformers=versions["transformers"],
        matches=len(of("matches")),
        wrong=len(of("wrong")) or "none",
        total=len(results),
        refused=len(of("refused")),
        failing=f", {fails} fail in another way" if fails else "",
        unbuilt=f", {unbuilt} are not built here" if unbuilt else "",
    )
    parts = [
        text,
        "\n## Classes that match\n\n| class | family | error | fused |\n| --- | --- | --- | --- |\n",
    ]
    for one in of("matches"):
        parts.append(f"| {one['class']} | {one['family']} | {one['error']:.1e} | {one['fused']:.0%} |\n")
    for title, outcome in (
        ("Wrong", "wrong"),
        ("Classes that are refused", "refused"),
        ("Classes that fail in another way", "fails"),
        ("Classes that are not built here", "not built"),
    ):
        if of(outcome):
            parts.append(
                f"\n## {title}\n\n| class | family | imports | compiles | why |\n| --- | --- | --- | --- | --- |\n"
            )
            parts += [_row(one) for one in of(outcome)]
    return "".join(parts)


def _row(one: Result) -> str:
    reached = STAGES.index(one["stage"])
    done = ["yes" if reached > STAGES.index(stage) else "no" for stage in ("import", "compile")]
    why = str(one.get("reason", f"{one.get('error', 0):.1e}")).replace("|", "\\|")
    return f"| {one['class']} | {one['family']} | {done[0]} | {done[1]} | {why} |\n"
