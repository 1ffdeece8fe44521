# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""This checkout beside another one on the CPU: `python -m bench.against CHECKOUT`, about two minutes a model.

CHECKOUT is another working tree of mk that is set up and built, of an earlier commit for example. Both generate in
turns, as in `./dev bench`, and only figures of one round are divided by each other. So a change of a few percent shows,
where two runs at two times of a day do not show it. Without --model: SmolLM2, and a Llama of random weights that is as
wide as Llama-3.2-1B. Writes bench/results/against-<commit>-<date>.json.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mk.demo import find_model
from mk.llm import open_program
from mk.runtime.native import physical_cores

from bench import machine
from bench.cpu import BUSY, say, workload
from bench.peer import ROOT, Peer
from bench.results import FOLDER, Spread
from bench.rounds import Workload, rounds

_RATES = {"decode_short": "decode", "decode_long": "decode at 512", "prefill": "prefill"}
_WIDE = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 4, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 49152, "max_position_embeddings": 2048,
    "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="another working tree, set up and built")
    parser.add_argument(
        "--model", type=Path, action="append", help="a model's file or folder; may be repeated"
    )
    parser.add_argument("--rounds", type=int, default=9, help="turns of both (default: 9)")
    parser.add_argument("--no-save", action="store_true", help="keep nothing")
    options = parser.parse_args()
    other = options.checkout.resolve()
    if not (other / ".venv/bin/python").exists():
        parser.error(f"'{other}' is not a checkout that is set up: there is no .venv/bin/python in it")
    work = workload(find_model(), quick=False)
    with tempfile.TemporaryDirectory() as folder:
        models = options.model or [find_model(), wide_llama(Path(folder))]
        found = {Path(model).name: compare(Path(model), other, work, options.rounds) for model in models}
    for name, values in found.items():
        for key, what in _RATES.items():
            here, there, ratio = (Spread.of(values[who][key]) for who in ("here", "there", "ratio"))
            print(
                f"{name}: {what}: {here.median:.1f} tokens/s, there {there.median:.1f}; "
                f"here / there {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
            )
        busy = max(values["elsewhere"])
        if busy > BUSY:
            print(
                f"{name}: other processes had up to {100 * busy:.0f} % of the machine; run it again when it is quiet"
            )
    if not options.no_save:
        date = datetime.date.today().isoformat()
        path = FOLDER / f"against-{commit(other)}-{date}.json"
        about = {"date": date, "machine": machine.machine(), "here": commit(ROOT), "there": commit(other)}
        path.write_text(json.dumps({**about, "models": found}, indent=1) + "\n")
        print(f"written: {path.relative_to(ROOT)}")


def wide_llama(folder: Path) -> Path:
    """A folder with a Llama of random weights, 4 layers of Llama-3.2-1B's width and SmolLM2's vocabulary."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    path = folder / "llama-2048x4"
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **_WIDE), dtype=torch.bfloat16)
    model.save_pretrained(path)
    for name, content in open_program(str(find_model()), progress=say).files.items():
        (path / name).write_bytes(content)  # SmolLM2's tokenizer: an engine needs none, mk.LLM does
    return path


def compare(model: Path, other: Path, work: Workload, count: int) -> dict[str, Any]:
    """Tokens per second of each round, `here` and `there`, their `ratio`, and the share of the machine `elsewhere`."""
    found: dict[str, Any] = {who: {key: [] for key in _RATES} for who in ("here", "there", "ratio")}
    found["elsewhere"] = []
    with contextlib.ExitStack() as stack:
        peers = []
        for name, root in (("here", ROOT), ("there", other)):
            say(f"{model.name}: start {name}")
            command = [str(root / ".venv/bin/python"), "-m", "bench.peers.mk_peer", str(model)]
            peers.append(
                stack.enter_context(Peer(name, command, ROOT / ".dev" / f"against-{name}.log", root))
            )
        for turns in rounds(peers, work, count, physical_cores()):
            for key in _RATES:
                here, there = (turns[name][key] for name in ("here", "there"))
                for who, value in (("here", here), ("there", there), ("ratio", here / there)):
                    found[who][key].append(value)
            found["elsewhere"].append(max(values["elsewhere"] for values in turns.values()))
            say(f"round {len(found['elsewhere'])} of {count}: {found['ratio']['decode_short'][-1]:.3f}")
    return found


def commit(root: Path) -> str:
    """The short name of what is checked out."""
    return subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
