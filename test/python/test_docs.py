# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The documents say what is: code runs, commands and links exist, pages are complete."""

from __future__ import annotations

import contextlib
import io
import json
import platform
import re
from pathlib import Path
from typing import Any

import fake_text
import numpy as np
import pytest
from descriptions import DIALECTS, ROOT, blocks, declared, passes
from models import TINY, randomize, tiny_llama

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
HAND_WRITTEN = [page for page in PAGES if "generated" not in page.parts]


# --------------------------------------------------------------------------------------------------------- README


def _model_folder(path: Path) -> None:
    """A tiny Llama with a tokenizer, as a Hugging Face folder."""
    tiny_llama().save_pretrained(path)
    for name, content in fake_text.files().items():
        if name == "tokenizer.json":
            tokenizer = json.loads(content)
            vocabulary = tokenizer["model"]["vocab"]
            vocabulary.update({f"x{i}": i for i in range(len(vocabulary), TINY["vocab_size"])})
            content = json.dumps(tokenizer).encode()
        (path / name).write_bytes(content)


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MK_CACHE", "0")
    monkeypatch.chdir(tmp_path)
    first, own, second, third = blocks((ROOT / "README.md").read_text(), "python")
    model = re.search(r'compile_module\("([^"]+)"', first)
    assert model is not None
    _model_folder(tmp_path / model[1])
    with contextlib.redirect_stdout(io.StringIO()) as out:
        names: dict[str, Any] = {}
        exec(first, names)
        exec(second, {})
        function: dict[str, Any] = {}
        exec(own, function)
        edited: dict[str, Any] = {}
        exec(third, edited)
    assert names["logits"].shape == (3, TINY["vocab_size"]) and names["logits"].dtype == np.float32
    assert len(names["tokens"]) == 16
    assert edited["text"].count("scale = 1.0e-01") == TINY["num_hidden_layers"]
    with edited["program"].engine() as engine:
        assert np.abs(engine.step([1, 2, 3], [0, 1, 2], [0, 0, 0]) - names["logits"]).max() > 1e-2
    assert function["y"].shape == (3, 100, 64) and (tmp_path / "block.mkp").is_file()
    assert "epilogue" in out.getvalue() and "'mk.add'" in out.getvalue()


def test_every_verb_and_command_of_the_documents_exists() -> None:
    script = (ROOT / "dev").read_text()
    verbs = {
        verb for group in re.findall(r"^  ([\w |-]+)\) ", script, re.MULTILINE) for verb in group.split(" | ")
    }
    cli = (ROOT / "python/mk/cli.py").read_text()
    commands = set(re.findall(r"@app\.command\((?:\"(\w+)\")?\)\ndef (\w+)", cli))
    names = {given or function for given, function in commands}
    for page in HAND_WRITTEN:
        text = page.read_text()
        assert set(re.findall(r"\./dev ([a-z-]+)", text)) <= verbs
        assert set(re.findall(r"^mk ([a-z]+)", "\n".join(blocks(text, "")), re.MULTILINE)) <= names


NAMED = {
    "Mistral": ("MistralConfig", {"sliding_window": 7}),
    "Qwen2": ("Qwen2Config", {}),
    "Qwen3": ("Qwen3Config", {}),
    "Phi-3": ("Phi3Config", {"pad_token_id": 0}),
    "SmolLM3": ("SmolLM3Config", {"pad_token_id": 0}),
    "OLMo 2": ("Olmo2Config", {}),
    "OLMo 3": ("Olmo3Config", {"sliding_window": 7, "layer_types": ["sliding_attention"], "pad_token_id": 0}),
}


@pytest.mark.parametrize("name", NAMED)
def test_models_that_the_readme_names_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mk
    import torch
    import transformers

    monkeypatch.setenv("MK_CACHE", "0")
    assert name in (ROOT / "README.md").read_text()
    config, options = NAMED[name]
    fields = {**TINY, "num_hidden_layers": 1, **options}
    model = randomize(transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**fields)))
    program = mk.compile_module(model, dtype="float32", max_sequences=2, max_length=64, max_tokens=32)
    ids = np.arange(3, 23)
    with program.engine() as engine:
        found = engine.step(ids, np.arange(20), np.zeros(20, int))
    wanted = model(torch.tensor(ids)[None]).logits[0].detach().numpy()
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


# ---------------------------------------------------------------------------------------------------------- pages


def _anchors(page: Path) -> set[str]:
    """GitHub's names of the headings."""
    heads = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        assert not anchor or anchor in _anchors(place), target


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = re.sub(r"<!-- tour:.*?<!-- /tour -->", "", page.read_text(), flags=re.DOTALL)
    for name in re.findall(r"`((?:dialects|passes|python|runtime|test|docs|bench|tools)/[\w./-]+)`", text):
        # What CONTRIBUTING.md invents as an example.
        assert (ROOT / name).exists() or name == "test/dialects/mk/gelu.mlir", name


def test_every_operation_and_pass_has_a_page() -> None:
    for source in DIALECTS:
        dialect = source.parent.name
        page = (ROOT / f"docs/generated/dialects/{dialect}.md").read_text()
        for name in declared(source):
            assert f"### `{dialect}.{name}`" in page, name
    page = (ROOT / "docs/generated/passes.md").read_text()
    for _, flag, _ in passes():
        assert f"### `-{flag}`" in page, flag


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the tour is made on x86-64")
def test_the_tour_is_what_the_compiler_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import make_tour

    levels = make_tour.Levels()
    page = make_tour.PAGE.read_text()
    assert page == make_tour.fill(page, make_tour.excerpts(levels)), "docs/tour.md is stale: run ./dev doc"
    # What design.md says of SmolLM2's 30 layers follows: the kinds are the same, the families grow with the layers.
    layers = make_tour.CONFIG["num_hidden_layers"]
    assert len(levels.manifest["kinds"]) == 10
    assert len(levels.manifest["families"]) == 5 * layers + 5
