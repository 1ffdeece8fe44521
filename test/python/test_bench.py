# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The arithmetic of the benchmark, its files and its table. No peer runs here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench import machine, results, rounds, table  # noqa: E402
from bench.peer import Elsewhere, Peer  # noqa: E402
from bench.peers.serve import timed  # noqa: E402
from bench.results import Results, Spread  # noqa: E402

FACTS = {
    "cpu": "Maker EPYC (R) 7",
    "features": ["avx512_bf16"],
    "virtual": True,
    "cores": 2,
    "memory_gb": 24.0,
    "system": "Linux",
    "python": "3.11",
}


def turn(decode: float, bandwidth: float = 40e9) -> dict[str, Any]:
    return {
        "decode_short": decode,
        "prefill": 10 * decode,
        "decode_long": decode / 2,
        "bandwidth": bandwidth,
        "bandwidth_long": bandwidth,
        "elsewhere": 0.01,
        "same_tokens": 9,
    }


@pytest.fixture
def run() -> Results:
    return Results(
        date="2026-01-02",
        model="model.gguf",
        machine=dict(FACTS),
        settings={"short": 8, "long": 512, "after_short": 128, "after_long": 64, "threads": 2},
        peers={
            "mk": {"version": "1", "dtype": "bfloat16", "weight_bytes": 300_000_000, "kv_bytes": 20_000},
            "llama.cpp": {"version": "2", "dtype": "bfloat16", "weight_bytes": 300_000_000},
            "PyTorch": {"version": "3", "dtype": "float32"},
        },
        rounds=[
            {"mk": turn(100.0), "llama.cpp": turn(80.0), "PyTorch": turn(20.0)},
            {"mk": turn(130.0, 50e9), "llama.cpp": turn(100.0, 50e9), "PyTorch": turn(20.0)},
            {"mk": turn(90.0, 30e9), "llama.cpp": turn(60.0, 30e9), "PyTorch": turn(20.0)},
        ],
        starts={"import": [5.0, 6.0, 7.0], "compile": [5.0], "first_token": [1.0]},
        memory={"bare": 10, "peak": 130, "weights": 80, "pool": 20},
    )


def test_median_smallest_largest() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def test_ratios_are_those_of_single_rounds(run: Results) -> None:
    assert run.rate("mk", "decode_short") == Spread(100.0, 90.0, 130.0)
    assert run.ratio("llama.cpp", "decode_short") == Spread(1.3, 1.25, 1.5)


def test_share_counts_weights_and_the_middle_of_the_cache(run: Results) -> None:
    read = 300e6 + 20e3 * (8 + 64)
    share = run.share("mk")
    assert share is not None and share.median == pytest.approx(130 * read / 50e9)
    longer = run.share("mk", "decode_long")
    assert longer is not None and longer.high == pytest.approx(
        65 * (300e6 + 20e3 * (512 + 32)) / 50e9, rel=0.2
    )
    assert run.share("PyTorch") is None
    assert run.memory_ratio() == pytest.approx(1.2)


def test_what_is_saved_comes_back(run: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert results.newest() is None
    path = run.save()
    assert path.name == "cpu-maker-epyc-r-7-2-cores-2026-01-02.json"
    assert results.load(path) == run
    run.date = "2026-02-01"
    run.machine["cpu"] = "Another"
    assert results.newest() == path and run.save() == results.newest()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("memory"), "expected an object with date, model"),
        (lambda d: d["memory"].pop("pool"), "memory: pool is None"),
        (lambda d: d["settings"].update(threads="two"), "settings: threads is 'two'"),
        (lambda d: d["peers"].pop("mk"), "peers: mk is missing"),
        (lambda d: d["rounds"][1]["PyTorch"].update(prefill=-1), "round 1: PyTorch: prefill is -1"),
        (lambda d: d["rounds"][2].pop("mk"), "round 2: mk: decode_short is None"),
        (lambda d: d["rounds"].clear(), "rounds: there is none"),
        (lambda d: d["starts"].update(compile=[]), "repetition 0: compile is None"),
    ],
)
def test_a_damaged_file_is_refused(
    run: Results,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Any], Any],
    message: str,
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    path = run.save()
    data = json.loads(path.read_text())
    damage(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        results.load(path)


def test_table_says_what_is_met_and_what_is_missed(run: Results) -> None:
    lines = table.markdown(run).splitlines()
    assert lines[0] == "|  | mk bf16 | llama.cpp bf16 | PyTorch f32 | mk / llama.cpp | target |  |"
    decode = "| decode, context 8-136, tokens/s | 100.0 (90.0-130.0) | 80.0 (60.0-100.0) | 20.0 (20.0-20.0) "
    assert lines[2] == decode + "| 1.30x (1.25-1.50) | >= 1.25x | met |"
    assert lines[3].endswith("| >= 0.88 | missed |")
    assert lines[7] == "| compile, IR to runnable code, s | 5.00 (5.00-5.00) |  |  |  | <= 4 s | missed |"
    assert "Maker EPYC (R) 7, virtual machine, 2 cores, 24 GB (avx512_bf16)" in lines[-1]
    assert all(line.count("|") == lines[0].count("|") for line in lines[:10])


def test_block_goes_between_the_marks() -> None:
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.put_between_marks(text, "new\n") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    for bad in ("", table.BEGIN, f"{table.END}{table.BEGIN}", text + text):
        with pytest.raises(ValueError, match="expected one"):
            table.put_between_marks(bad, "new\n")


def test_kept_results_are_readable_and_the_readme_shows_the_newest() -> None:
    for path in results.FOLDER.glob("cpu-*.json"):
        assert results.load(path).path() == path
    newest, text = results.newest(), table.README.read_text() if table.README.exists() else ""
    if newest is not None and table.BEGIN in text:
        assert text == table.put_between_marks(text, table.markdown(results.load(newest)))


class FakePeer:
    """Answers at once and remembers whose turn it was."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def generate(self, prompt: list[int], tokens: int) -> dict[str, Any]:
        self._log.append(f"{self.name} {len(prompt)}+{tokens}")
        return {"tokens": [0] * tokens, "first": 2.0, "rest": 4.0}

    def cpu_seconds(self) -> float:
        return 0.0


def test_peers_take_turns_in_another_order_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    peers: Any = [FakePeer("a", log), FakePeer("b", log)]
    work = rounds.Workload([1] * 8, [1] * 512, after_short=20, after_long=10)
    bandwidths = iter(range(1000))
    monkeypatch.setattr(rounds, "read_bandwidth", lambda **_: float(next(bandwidths)))
    found = list(rounds.rounds(peers, work, 2, 2))
    assert log == [
        *("a 8+16", "a 512+2", "b 8+16", "b 512+2"),
        *("a 8+21", "a 512+11", "b 8+21", "b 512+11"),
        *("b 8+21", "b 512+11", "a 8+21", "a 512+11"),
    ]
    first = found[0]["a"]
    assert (first["decode_short"], first["prefill"], first["decode_long"]) == (5.0, 256.0, 2.5)
    assert (first["bandwidth"], first["bandwidth_long"], first["same_tokens"]) == (0.5, 1.5, 21)
    assert rounds.leading([1, 2, 3], [1, 5, 3]) == 1


def test_timing_refuses_a_peer_that_stops_early() -> None:
    answer = timed(lambda prompt, count: iter(range(count)), [1], 3)
    assert answer["tokens"] == [0, 1, 2] and answer["first"] >= 0 and answer["rest"] >= 0
    with pytest.raises(RuntimeError, match="3 tokens were asked for, 1 came"):
        timed(lambda prompt, count: iter([7]), [1], 3)


def test_a_peer_is_a_process_that_answers(tmp_path: Path) -> None:
    code = """
from bench.peers.serve import serve
def generate(prompt, count):
    if count > 4:
        raise SystemExit("out of tokens")
    return iter(prompt * count)
def prepare():
    print("not an answer")
    return generate, {"version": "1"}
serve(prepare)
"""
    with Peer("echo", [sys.executable, "-c", code], tmp_path / "log") as peer:
        assert peer.facts == {"version": "1"}
        assert peer.generate([5], 3)["tokens"] == [5, 5, 5]
        assert 0 <= Elsewhere(peer).share() <= 1 and peer.cpu_seconds() >= 0
        with pytest.raises(RuntimeError, match="echo: the process has ended: out of tokens"):
            peer.generate([5], 5)


def test_machine_is_described_without_its_name() -> None:
    facts = machine.machine()
    assert facts["cores"] >= 1 and facts["memory_gb"] > 0
    name = subprocess.run(["uname", "-n"], capture_output=True, text=True, check=True).stdout.strip()
    assert name not in json.dumps(facts).split('"')
    assert machine.slug({**FACTS, "cpu": "A (B)  c@3.0GHz"}) == "a-b-c-3-0ghz-2-cores"


def test_table_is_shown_in_the_terminal(run: Results, capsys: pytest.CaptureFixture[str]) -> None:
    table.show(run)
    assert "llama.cpp" in capsys.readouterr().out
