# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The classes, a process for each, and the file that keeps what was found."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "models.json"
SECONDS = 240.0  # for one class; none needs half a minute on an idle machine
# What every process would import anew: they are forked from one that has.
PRELOADED = [
    "torch",
    "transformers",
    "accelerate",
    "mk.importer.export",
    "mk.importer.torch_text",
    "mk.compiler",
]


def class_names() -> dict[str, str]:
    """Every class that transformers maps a config to as a causal language model, and the names of its families."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    found: dict[str, str] = {}
    for family, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        found[name] = f"{found[name]}, {family}" if name in found else family
    return dict(sorted(found.items()))


def run_alone(class_name: str, family: str, seconds: float = SECONDS) -> dict[str, Any]:
    """What `survey_class` finds, in a fresh process that may crash or hang."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(class_name, family, sender))
    process.start()
    sender.close()
    known: dict[str, Any] = {"class": class_name, "family": family, "stage": "build", "outcome": "fails"}
    try:
        while receiver.poll(seconds):
            known = receiver.recv()
        process.kill()
        known = {**known, "outcome": "fails", "reason": f"no result after {seconds:.0f} s"}
    except EOFError:  # the process is done
        process.join()
        if process.exitcode:
            known = {**known, "outcome": "fails", "reason": f"the process ended with {process.exitcode}"}
    return known


def _child(class_name: str, family: str, sender: Any) -> None:
    import torch
    import transformers

    from bench.survey.one import survey_class

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    survey_class(class_name, family, sender.send)


def load_results(path: Path = RESULTS) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The results by class, and the versions that they are of."""
    if not path.exists():
        return {}, {}
    kept = json.loads(path.read_text())
    return {one["class"]: one for one in kept.pop("classes")}, kept


def save_results(results: dict[str, dict[str, Any]], path: Path = RESULTS) -> None:
    """One line a class, so that a change of one is a change of a line."""
    import torch
    import transformers

    head = {"transformers": transformers.__version__, "torch": torch.__version__}
    lines = ",\n".join(json.dumps(results[name], sort_keys=True) for name in sorted(results))
    path.write_text(f'{json.dumps(head)[:-1]}, "classes": [\n{lines}\n]}}\n')
