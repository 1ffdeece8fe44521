# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The benchmark of the GPU without one: arithmetic, files, table and processes; mk's side on a fake driver."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_gpu
import numpy as np
import pytest
from mk.compiler import ptxas
from mk.runtime.gpu import driver

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench import gpu_compile, gpu_decode, gpu_pack  # noqa: E402
from bench.gpu import ceiling_side, mk_side, nvml, results, table  # noqa: E402
from bench.gpu.results import NOT_COMPILED, Measured, Run  # noqa: E402
from bench.gpu.shapes import CASES, PACKAGES, SHAPES  # noqa: E402
from bench.gpu.side import Side, SideError  # noqa: E402
from bench.results import Spread  # noqa: E402

GPU = {"name": "NVIDIA H100 80GB HBM3", "driver": "580.1", "memory_gb": 85.5, "most_sm_mhz": 1980}


def a_round(mk: float, torch: float, ceiling: float, swap: bool = False) -> dict[str, Any]:
    return {
        "order": ["torch", "mk"] if swap else ["mk", "torch"],
        "ceiling": [[ceiling], [ceiling, ceiling * 1.5, ceiling * 0.5], [ceiling]],
        "mk": {"samples": [{"ms": mk}, {"ms": mk * 2}, {"ms": mk / 2}], "gpu": {"sm_mhz": 1980}},
        "torch": {"samples": [{"ms": torch}], "gpu": {}},
    }


def measured(name: str, *rounds: dict[str, Any], **fields: Any) -> Measured:
    case = CASES[name]
    sides = {
        "mk": {
            "version": "0.1.0",
            "load": {"import": 1.0, "package": 0.5, "engine": 1.5},
            "prefill": [50.0, 30.0, 45.0],
        },
        "torch": {"version": "2.11.0"},
    }
    given = {"sides": sides, "rounds": list(rounds), **fields}
    return Measured("2026-01-02", dict(GPU), case.read_bytes, case.batch, case.context, **given)


@pytest.fixture
def run() -> Run:
    return Run(
        "2026-01-02",
        {"rounds": 3},
        {
            "packages": {
                "llama-3.1-8b": {
                    "cold": {"seconds": 20.0},
                    "warm": [{"seconds": 0.25}, {"seconds": 0.75}, {"seconds": 0.5}],
                },
                "qwen3-8b": {"error": "no conversion"},
                "llama-3.1-70b": {"cold": {"seconds": 40.0}, "warm": []},
                "llama-3.2-1b": {"cold": {"seconds": 9.0}, "warm": []},
            }
        },
        {
            "1b": measured(
                "1b",
                a_round(0.8, 1.6, 3.0e12),
                a_round(0.9, 1.35, 3.2e12, swap=True),
                a_round(0.85, 1.7, 3.1e12),
                energy={"mk": {"joule_per_token": 0.35}, "torch": {"joule_per_token": 0.7}},
            ),
            "8b": measured("8b", a_round(6.0, 6.6, 3.0e12)),
            "qwen3-8b": measured(
                "qwen3-8b", sides={}, errors={"mk": NOT_COMPILED, "torch": "start: | no memory"}
            ),
        },
    )


def test_floors_are_those_of_the_plan() -> None:
    found = {name: round(case.read_bytes / 3.15e9, 3) for name, case in CASES.items()}
    expected = {"1b": 0.790, "1b-ctx8192": 0.870, "1b-batch8": 0.827, "1b-batch16": 0.870, "8b": 4.786}
    expected |= {"qwen3-8b": 4.829, "qwen3-0.6b": 0.397}
    # Of 128 experts 8 are read by a token, and of 8 sequences' choices, at random, 51.6.
    expected |= {"qwen3-30b-a3b-16": 0.781, "qwen3-30b-a3b-16-batch8": 2.909, "mixtral-8x7b-8": 2.091}
    assert found == expected
    assert SHAPES["llama-3.1-8b"].held_bytes - SHAPES["llama-3.1-8b"].weight_bytes == 2 * 128256 * 4096


def test_every_case_has_a_package_that_is_long_and_wide_enough() -> None:
    for case in CASES.values():
        options = PACKAGES[case.package].options
        assert PACKAGES[case.package].measured and options["max_sequences"] >= case.batch
        assert options["max_length"] >= case.context + mk_side.STEPS


@pytest.mark.parametrize("name", SHAPES)
def test_configurations_are_what_transformers_reads(name: str, tmp_path: Path) -> None:
    from transformers import AutoConfig

    shape = SHAPES[name]
    (tmp_path / "config.json").write_text(json.dumps(shape.config()))
    config = AutoConfig.from_pretrained(tmp_path)
    names = ["Llama", "Qwen3", "Mixtral", "Qwen3Moe"]
    assert type(config).__name__ == f"{names[2 * bool(shape.experts) + shape.qk_norm]}Config"
    if shape.experts:
        sizes = (config.num_experts, config.moe_intermediate_size) if shape.qk_norm else (
            config.num_local_experts, config.intermediate_size
        )  # fmt: skip
        assert (*sizes, config.num_experts_per_tok) == (shape.experts, shape.ffn, shape.chosen)
    assert (config.head_dim, config.num_key_value_heads) == (shape.head, shape.kv_heads)
    assert config.tie_word_embeddings == shape.tied


def test_medians_ratios_and_shares_are_those_of_single_rounds(run: Run) -> None:
    found = run.cases["1b"]
    assert found.milliseconds("mk") == Spread(0.85, 0.8, 0.9)
    assert found.ratio() == Spread(2.0, 1.5, 2.0)
    share = found.share("mk")
    assert share is not None and share.low == pytest.approx(found.read_bytes / 3.2e12 * 1000 / 0.9)
    floor = found.floor()
    assert floor is not None and floor.median == pytest.approx(found.read_bytes / 3.1e12 * 1000)
    nothing = run.cases["qwen3-8b"]
    assert (nothing.milliseconds("mk"), nothing.share("mk"), nothing.ratio(), nothing.floor()) == (None,) * 4


def test_without_a_ceiling_there_is_no_share(run: Run) -> None:
    found = run.cases["1b"]
    for turns in found.rounds:
        turns["ceiling"] = [[], [], []]
    assert found.share("mk") is None and found.floor() is None and found.ratio() is not None
    assert "read ceiling 3000 GB/s" in table.caption(run)


def test_what_is_saved_comes_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    path = run.save(tmp_path)
    assert path.name == "gpu-nvidia-h100-80gb-hbm3-2026-01-02.json"
    assert results.load(path) == run and results.newest() == path
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_cases_of_several_runs_become_one(run: Run) -> None:
    later = Run("2026-01-03", {"rounds": 5}, {}, {"8b": measured("8b", a_round(5.0, 6.6, 3.0e12))})
    both = results.merged([run, later])
    assert list(both.cases) == ["1b", "8b", "qwen3-8b"] and both.date == "2026-01-03"
    assert both.cases["8b"] is later.cases["8b"] and both.compile is run.compile


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("compile"), "expected an object with cases, compile, date"),
        (lambda d: d["cases"].update(other={}), "cases: other: no such case"),
        (lambda d: d["cases"]["1b"].pop("gpu"), "cases: 1b: expected an object with batch"),
        (lambda d: d["cases"]["1b"]["rounds"][1]["ceiling"].pop(), "1b: round 1: expected a ceiling before"),
        (lambda d: d["cases"]["1b"]["rounds"][1]["mk"]["samples"][0].update(ms=0), "round 1: mk: ms is 0"),
        (lambda d: d["cases"]["1b"]["rounds"][1].pop("torch"), "round 1: torch: ms is None"),
    ],
)
def test_a_damaged_file_is_refused(
    run: Run, tmp_path: Path, damage: Callable[[Any], Any], message: str
) -> None:
    path = run.save(tmp_path)
    data = json.loads(path.read_text())
    damage(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        results.load(path)


def test_table_has_what_is_missed_first(run: Run) -> None:
    lines = table.markdown(run).splitlines()
    assert lines[0] == "|  | floor | mk | share of the ceiling | PyTorch | PyTorch / mk | needed |  |"
    body = lines[2 : lines.index("")]
    states = [line.rsplit("|", 2)[1].strip() for line in body]
    assert states == [
        *("missed",) * 3, NOT_COMPILED, *("met",) * 3, *("",) * 4,
    ]  # fmt: skip
    assert body[0].startswith(
        "| Llama-3.1-8B, ms per step | 5.026 | 6.000 | 83.8 % | 6.600 | 1.10x | <= 5.2 ms |"
    )
    assert body[1].startswith("| Llama-3.2-1B, prefill of 512 tokens, ms |  | 45.0 (30.0-50.0) |")
    assert body[2] == "| llama-3.1-8b, compile, cold, s |  | 20.00 |  |  |  | <= 15 s | missed |"
    assert "| Llama-3.2-1B, energy, J per token |  | 0.350 |  | 0.700 | 2.00x | <= 0.4 J | met |" in body
    assert "| llama-3.1-8b, compile, warm, s |  | 0.50 (0.25-0.75) |  |  |  | <= 1 s | met |" in body
    assert all(line.count("|") == 9 for line in body)
    assert "Qwen3-8B, torch: start: | no memory." in lines[-1] and "driver 580.1" in lines[-1]


def test_targets_hold_for_one_kind_of_gpu(run: Run) -> None:
    for found in run.cases.values():
        found.gpu["name"] = "NVIDIA H200"
    assert not [
        row for row in table.rows(run) if "ms" in row.label and (row.needed or row.state == table.MISSED)
    ]


def test_table_is_shown_in_the_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    table.show(run)
    out = capsys.readouterr().out
    assert "Llama-3.2-1B" in out and "not compiled" in out


def test_kept_results_are_readable_and_the_readme_shows_the_newest() -> None:
    for path in results.FOLDER.glob("gpu-*.json"):
        assert results.load(path).path() == path
    newest, text = results.newest(), table.README.read_text()
    if newest is not None:
        assert text == table.put_between_marks(text, table.markdown(results.load(newest)), table.MARKS)
    assert table.put_between_marks(text, "", table.MARKS)  # it has the marks


def test_plot_is_the_same_for_the_same_run(run: Run, tmp_path: Path) -> None:
    from bench.gpu.plot import draw

    one, two = draw(run, tmp_path / "1.svg"), draw(run, tmp_path / "2.svg")
    assert one.read_bytes() == two.read_bytes() and b"Llama-3.1-8B" in one.read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--cases 1b,9b", "no '9b'; there is: 1b, "),
        ("--sides ,", "--sides: none is named"),
        ("--rounds 0", "at least 1"),
        ("--energy 1", "at least 2 seconds"),
    ],
)
def test_mistakes_show_before_anything_starts(
    given: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        gpu_decode.arguments(given.split())
    assert message in capsys.readouterr().err


def test_cases_wait_together_as_far_as_memory_allows() -> None:
    assert list(
        gpu_decode.groups(["1b", "1b-ctx8192", "1b-batch8", "1b-batch16", "8b", "qwen3-8b", "qwen3-0.6b"])
    ) == [
        ["1b", "1b-ctx8192", "1b-batch8", "1b-batch16", "8b"],
        ["qwen3-8b", "qwen3-0.6b"],
    ]


ECHO = """
import sys, time
from bench.gpu.side import serve
def fail():
    raise ValueError("two\\nlines")
def slow():
    time.sleep(60)
def prepare():
    print("not an answer")
    return {"add": lambda a, b: a + b, "fail": fail, "slow": slow, "end": lambda: sys.exit(3)}, {"ready": True}
serve(prepare)
"""


def test_a_side_answers_until_it_fails(tmp_path: Path) -> None:
    with Side("echo", [sys.executable, "-c", ECHO], tmp_path / "log") as side:
        assert side.wait(20) and side.ready(20) == {"ready": True}
        assert side.ask("add", 20, a=1, b=2) == 3
        with pytest.raises(SideError, match=r"^fail: ValueError: two lines$"):
            side.ask("fail", 20)
        with pytest.raises(SideError, match="the process has ended"):
            side.ask("add", 20, a=1, b=2)


def test_a_side_that_hangs_or_ends_is_given_up(tmp_path: Path) -> None:
    with Side("echo", [sys.executable, "-c", ECHO], tmp_path / "log") as side:
        side.ready(20)
        began = time.monotonic()
        with pytest.raises(SideError, match=r"^slow: took longer than 0 s$"):
            side.ask("slow", 0.2)
        assert time.monotonic() - began < 10
    with (
        Side("none", [sys.executable, "-c", "raise SystemExit('no luck')"], tmp_path / "log") as side,
        pytest.raises(SideError, match=r"^start: the process has ended: no luck$"),
    ):
        side.ready(20)


FAKES = """
import sys
from bench.gpu.side import serve
kind, case = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
def turn(repeat=0):
    if kind == "torch" and case == "8b":
        raise RuntimeError("out of memory")
    return {"bytes_per_second": [3e12]} if kind == "ceiling" else {"samples": [{"ms": 1.5}] * repeat, "gpu": {}}
energy = lambda seconds: {"joule_per_token": 0.5}
device = {"name": "NVIDIA H100"}
facts = {"device": device, "version": "1", "load": {"import": 0, "package": 0, "engine": 0}, "prefill": []}
serve(lambda: ({"turn": turn, "energy": energy}, device if kind == "ceiling" else facts))
"""


def test_a_whole_run_notes_what_fails_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_decode, "command", lambda *parts: [sys.executable, "-c", FAKES, *parts])
    monkeypatch.setattr(gpu_decode, "LOGS", tmp_path)
    for name in ("llama-3.2-1b", "llama-3.1-8b"):
        (tmp_path / f"{name}.mkp").touch()
    given = [
        "--cases",
        "1b,8b,qwen3-8b",
        "--packages",
        str(tmp_path),
        "--out",
        str(tmp_path),
        "--rounds",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", ["gpu_decode", *given])
    gpu_decode.main()
    (path,) = tmp_path.glob("gpu-nvidia-h100-*.json")
    run = results.load(path)
    good, half, absent = (run.cases[name] for name in ("1b", "8b", "qwen3-8b"))
    assert [turns["order"] for turns in good.rounds] == [["mk", "torch"], ["torch", "mk"]] and not good.errors
    assert good.joules("mk") == 0.5 and good.ratio() == Spread(1.0, 1.0, 1.0)
    assert half.errors == {"torch": "turn: RuntimeError: out of memory"}
    assert [turns["order"] for turns in half.rounds] == [["mk"], ["mk"]]
    assert absent.errors == {"mk": NOT_COMPILED} and absent.milliseconds("torch") == Spread(1.5, 1.5, 1.5)
    assert "missed" in capsys.readouterr().out


def test_mk_decodes_all_slots_in_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = fake_gpu.cuda()
    monkeypatch.setattr(driver, "bindings", lambda: cuda)
    monkeypatch.setattr(mk_side, "WARM", 2)
    monkeypatch.setattr(mk_side, "STEPS", 4)
    monkeypatch.setattr(mk_side, "SECONDS", 0.0)
    monkeypatch.setattr(mk_side, "PROMPT", 5)
    with fake_gpu.program().engine(weights="random") as engine:
        assert len(mk_side.prefill(engine, 2)) == 2
        decoder = mk_side.Decoder(engine, 2, 9)
        assert [engine.length(slot) for slot in (0, 1)] == [5, 5]
        cuda.launched.clear()
        assert decoder.launch(3) == 6 and cuda.launched == ["mk_main"]
        assert [sorted(sample) for sample in decoder.turn(2)] == [["long", "ms", "short"]] * 2
        with pytest.raises(
            ValueError, match=r"the package serves \d+ sequences of \d+ tokens, but the case needs 99 of"
        ):
            mk_side.Decoder(engine, 99, 9)


@pytest.mark.parametrize("experts", [0, 5])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_torch_computes_what_transformers_does(
    qk_norm: bool, experts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from bench.gpu import torch_side
    from bench.gpu.shapes import Shape

    rope = {"rope_type": "default", "rope_theta": 500000.0}
    shape = Shape(
        64, 96, 2, 4, 2, 16, 50, tied=True, qk_norm=qk_norm, rope=rope, experts=experts, chosen=2 if experts else 0
    )  # fmt: skip
    model = torch_side.random_model(shape, "cpu")
    assert 2 * sum(p.numel() for p in model.parameters()) == shape.held_bytes
    assert shape.held_bytes - shape.weight_bytes == (2 * 2 * 3 * 3 * 64 * 96 if experts else 0)
    assert torch.get_default_dtype() == torch.float32
    model.float()
    monkeypatch.setattr(torch_side, "DTYPE", torch.float32)
    config = shape.config()
    other = (
        AutoModelForCausalLM.from_config(AutoConfig.for_model(**config | {"rms_norm_eps": 1e-5}))
        .float()
        .eval()
    )
    keys, values = ([torch.zeros(1, 2, torch_side.cache_length(6), 16) for _ in range(2)] for _ in range(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5, 0.2) if parameter.ndim == 1 else parameter.normal_(0, 0.2)
        other.load_state_dict(hugging_face_names(model))
        tokens = torch.randint(0, 50, (1, 7))
        for position in range(7):
            found = model(tokens[:, position : position + 1], torch.tensor([position]), keys, values)
        torch.testing.assert_close(found[:, 0], other(tokens).logits[:, -1], atol=1e-3, rtol=1e-3)
    assert torch_side.cache_length(512) == 640 and torch_side.cache_length(127) == 128


def hugging_face_names(model: Any) -> dict[str, Any]:
    s = model.shape
    found = {"model.embed_tokens.weight": model.embedding.weight, "model.norm.weight": model.norm}
    found["lm_head.weight"] = model.head.weight
    for index, layer in enumerate(model.layers):
        q, k, v = layer.qkv.weight.split([s.heads * s.head, s.kv_heads * s.head, s.kv_heads * s.head])
        weights = {
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": layer.out.weight,
            "input_layernorm": layer.norm1,
            "post_attention_layernorm": layer.norm2,
        }
        if s.qk_norm:
            weights |= {"self_attn.q_norm": layer.q_norm, "self_attn.k_norm": layer.k_norm}
        if s.experts:
            weights |= {"mlp.gate": layer.router.weight}
            experts = {"gate_up_proj": layer.gate_up, "down_proj": layer.down}
            found |= {f"model.layers.{index}.mlp.experts.{name}": value for name, value in experts.items()}
        else:
            gate, up = layer.gate_up.weight.chunk(2)
            weights |= {"mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": layer.down.weight}
        found |= {f"model.layers.{index}.{name}.weight": value for name, value in weights.items()}
    return found


class FakeNvml(nvml.Nvml):
    """A counter that moves by 5 J every 10 ms: 500 W."""

    def __init__(self) -> None:
        pass

    def _joule(self) -> float | None:
        return time.perf_counter() // 0.01 * 5.0


def test_energy_is_the_slope_of_the_counter() -> None:
    def work() -> int:
        time.sleep(0.002)
        return 4

    found = FakeNvml().energy(work, 0.4, warm=0.0)
    assert found["watt"] == pytest.approx(500, rel=0.1)
    assert found["joule_per_token"] == pytest.approx(found["watt"] * found["seconds"] / found["tokens"])
    assert found["tokens"] <= 4 * found["seconds"] / 0.002


def test_without_the_library_there_are_no_facts_and_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    nothing = nvml.Nvml()
    assert (nothing.facts(), nothing.now(), nothing.has_energy) == ({}, {}, False)
    with pytest.raises(RuntimeError, match="no energy counter"):
        nothing.energy(lambda: 1, 1.0)


def test_ceiling_assembles_and_agrees_with_its_launch() -> None:
    text = ceiling_side.SOURCE.read_text()
    assert (
        f".visible .entry {ceiling_side.KERNEL}(" in text
        and ceiling_side.TILES & (ceiling_side.TILES - 1) == 0
    )
    assert f"add.u32 r7, r6, {ceiling_side.RING * ceiling_side.TILE};" in text
    assert set(re.findall(r"\b32768\b", text)) == {str(ceiling_side.TILE)}
    found = ptxas.find_ptxas()
    import subprocess

    done = subprocess.run(
        [str(found), "-arch=sm_90a", "-v", "-o", "/dev/null", str(ceiling_side.SOURCE)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "0 bytes spill stores" in done.stderr, done.stderr


def test_options_of_packages_are_json_or_words() -> None:
    parser = argparse.ArgumentParser()
    assert gpu_compile.assignment(parser, "split=256") == ("split", 256)
    assert gpu_compile.assignment(parser, "dtype=bfloat16") == ("dtype", "bfloat16")
    with pytest.raises(SystemExit):
        gpu_compile.assignment(parser, "split")


# ------------------------------------------------------------------------------------------------ packing, and compiles


def test_packing_is_measured_four_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a driver whose GPU is this process: every way does its work, and the file has all of it."""
    cuda = fake_gpu.cuda()
    monkeypatch.setattr(driver, "bindings", lambda: cuda)
    packed: dict[int, Any] = {}
    plan = gpu_pack._Plan.pack

    def watched(self: Any, code: Any, ring: Any, numbers: Any) -> None:
        plan(self, code, ring, numbers)
        ring.gpu.cuda("cuStreamSynchronize", ring.stream)
        packed[int(numbers[0])] = fake_gpu.tiles(fake_gpu.Memory(self._arena)).copy()

    monkeypatch.setattr(gpu_pack._Plan, "pack", watched)
    fake_gpu.program().save(tmp_path / "fake.mkp")
    assert gpu_pack.main([str(tmp_path / "fake.mkp"), "--out", str(tmp_path / "out"), "--rounds", "2"]) == 0
    found = json.loads((tmp_path / "out" / gpu_pack.FILE).read_text())
    shape = fake_gpu.program().manifest["weights"]
    assert found["bytes"] == sum(2 * w["shape"][0] * w["shape"][1] for w in shape if w["layout"] == "tiles")
    assert set(found["gbps"]) == set(gpu_pack.WAYS) and {len(rates) for rates in found["gbps"].values()} == {
        2
    }
    assert cuda.launched.count("mk_pack") >= 3 * 3
    # Rows that exist are ones in their tiles; where nobody filled a slot, they are not.
    assert packed[0x3F80].any() and set(np.unique(packed[0x3F80])) <= {0.0, 1.0}
    said = capsys.readouterr().out
    assert "mk_pack alone" in said and "on Fake GPU" in said


def test_the_table_of_packing_says_what_was_missed() -> None:
    rates = {"link": [50.0], "device": [99.0, 101.0, 98.0], "pinned": [25.0], "pageable": [10.0]}
    said = gpu_pack.text({"gpu": "G", "bytes": 2e9, "gbps": rates, "package": "p.mkp"})
    assert "99.0 (98.0-101.0) |  | >= 100 | missed" in said and "25.0 (25.0-25.0) | 50 %" in said
    rates["device"] = [100.0]
    assert "| met |" in gpu_pack.text({"gpu": "G", "bytes": 2e9, "gbps": rates})


def test_packing_without_a_gpu_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gpu.program().save(tmp_path / "fake.mkp")
    cuda = fake_gpu.cuda()
    cuda.attributes["major"] = 8
    monkeypatch.setattr(driver, "bindings", lambda: cuda)
    assert gpu_pack.main([str(tmp_path / "fake.mkp")]) == 1
    assert re.fullmatch(r"made for .*, but this GPU is Fake GPU.*\n", capsys.readouterr().err)
