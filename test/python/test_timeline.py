# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times of tasks on this processor, their Perfetto trace, and the profile that is made of them."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_program
import numpy as np
import pytest
from llama_text import Llama, Shape
from mk import timeline
from mk.compiler import Options, compile_text
from mk.compiler.target import find_target
from mk.errors import CompileError, InputError, MkError
from mk.measure import read_ceiling
from mk.program import Program
from mk.runtime.engine import Engine
from mk.timeline.profile import by_kind, by_layer, layer_of, profile, total
from mk.timeline.timeline import TASK, Family, Step, Timeline
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as messages
from test_cli import mk
from test_codegen import conversation, same
from test_docs import _model_folder

SHAPE = Shape()


@functools.cache
def program(trace: bool = True) -> Program:
    options = Options(
        dtype="float32",
        max_sequences=4,
        max_length=96,
        max_tokens=40,
        page=16,
        split=32,
        workers=2,
        trace=trace,
    )
    compiled = compile_text(Llama(SHAPE).text, options)
    return Program(compiled.manifest, dict(compiled.arrays), compiled.code)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with program().engine(Llama(SHAPE).weights, trace_steps=3) as engine:
        yield engine


# ---------------------------------------------------------------------------------------------------------- the times


def test_times_are_those_of_every_instruction(engine: Engine) -> None:
    began = time.monotonic_ns()
    for step in conversation(SHAPE.vocabulary)[:2]:
        engine.step(*step)
    ended = time.monotonic_ns()
    times = engine.times()
    exists = np.arange(times.stamps.shape[2]) < program().arrays["counts"][:, None]
    assert times.stamps.shape == (2, *program().arrays["table"].shape[:2], 5)
    assert (times.stamps[:, ~exists] == 0).all() and (times.stamps[..., 4] == 0).all()
    stamps = times.stamps[:, exists, :4]
    assert (np.diff(stamps, axis=2) >= 0).all()
    assert stamps[0].max() <= stamps[1].min()
    slack = 1_000_000  # the worth of a tick is measured
    assert began - slack < stamps.min() and stamps.max() < ended + slack
    for worker, count in enumerate(program().arrays["counts"].tolist()):  # one after the other
        mine = times.stamps[:, worker, :count]
        assert (mine[:, 1:, 0] >= mine[:, :-1, 3]).all()


def test_a_wait_ends_behind_the_signals_that_it_waits_for(engine: Engine) -> None:
    engine.step([1, 2, 3], [0, 1, 2], [0, 0, 0])
    stamps, table = engine.times().stamps[0], program().arrays["table"]
    checked = 0
    for worker, number in np.argwhere((table[..., 4] > 0) & (table[..., 0] != -1)):
        for wait in range(table[worker, number, 4]):
            if table[worker, number, 11 + wait]:
                continue  # for the step before
            signals = (table[..., 14] == table[worker, number, 5 + wait]) & (table[..., 0] != -1)
            # The third time comes before a signal; cores may see their counters some ticks apart.
            assert stamps[signals][:, 2].max() <= stamps[worker, number, 1] + 1000
            checked += 1
    assert checked


def test_the_last_steps_are_kept_and_what_they_were_asked(engine: Engine) -> None:
    engine.step(range(7), [*range(5), 0, 1], [2] * 5 + [0] * 2, rows=[4])
    times = engine.times()
    assert (times.first, *times.tokens, *times.rows, *times.context) == (0, 7, 1, 7)
    list(engine.generate(range(10), max_new_tokens=6))
    times = engine.times()  # four, since numbers of steps are powers of two: the last of seven
    assert times.first == 3
    assert times.tokens.tolist() == times.rows.tolist() == [1, 1, 1, 1]
    assert times.context.tolist() == [12, 13, 14, 15]
    engine.step(range(90), range(90), [1] * 90, rows=[])  # in three parts
    times = engine.times()
    assert (times.first, times.tokens.tolist(), times.rows.tolist()) == (6, [1, 40, 40, 10], [1, 0, 0, 0])
    assert times.context.tolist() == [15, 40, 80, 90]


def test_noting_times_changes_no_bits(engine: Engine) -> None:
    steps = conversation(SHAPE.vocabulary)
    with program(trace=False).engine(Llama(SHAPE).weights) as plain:
        same([plain.step(*step) for step in steps], [engine.step(*step) for step in steps])


def test_no_times_is_an_error(engine: Engine) -> None:
    with (
        program(trace=False).engine(Llama(SHAPE).weights) as plain,
        pytest.raises(InputError, match="trace=True"),
    ):
        plain.times()
    with pytest.raises(InputError, match="no step has run"):
        timeline.of(engine)
    with pytest.raises(InputError, match="trace_steps"):
        program().engine(Llama(SHAPE).weights, trace_steps=0)


def test_another_processor_has_no_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    other = dataclasses.replace(find_target("auto", 2), arch="aarch64")
    monkeypatch.setattr("mk.compiler.driver.find_target", lambda *_: other)
    with pytest.raises(CompileError, match=r"option trace: .* those for aarch64 do not"):
        compile_text(Llama(SHAPE).text, Options(trace=True))


# ---------------------------------------------------------------------------------------------------------- the trace


def test_the_trace_has_a_track_for_each_worker_and_a_slice_for_each_task(
    engine: Engine, tmp_path: Path
) -> None:
    """Read by Perfetto's own messages alone."""
    list(engine.generate([1, 2, 3], max_new_tokens=6))
    timeline.of(engine).write(tmp_path / "out.pftrace")
    trace = messages.Trace.FromString((tmp_path / "out.pftrace").read_bytes())
    tracks = {
        p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")
    }
    workers = [t for t in tracks.values() if t.name.startswith("worker ")]
    assert [t.name for t in workers] == ["worker 0", "worker 1"]
    root = tracks[workers[0].parent_uuid]
    assert root.child_ordering == root.EXPLICIT
    assert workers[0].sibling_order_rank < workers[1].sibling_order_rank
    names = {e.iid: e.name for p in trace.packet for e in p.interned_data.event_names}
    keys = {e.iid: e.name for p in trace.packet for e in p.interned_data.debug_annotation_names}
    texts = {
        e.iid: e.str.decode() for p in trace.packet for e in p.interned_data.debug_annotation_string_values
    }
    families = {family["name"]: family for family in program().manifest["families"]}
    table, counts = program().arrays["table"], program().arrays["counts"]
    for number, track in enumerate(workers):
        events = [
            (p.timestamp, p.track_event)
            for p in trace.packet
            if p.HasField("track_event") and p.track_event.track_uuid == track.uuid
        ]
        times = [time for time, _ in events]
        assert times == sorted(times)
        assert [e.type for _, e in events] == [1, 2] * (len(events) // 2)  # begin, end: one at a time
        begins = [e for _, e in events if e.type == messages.TrackEvent.TYPE_SLICE_BEGIN]
        tasks = [e for e in begins if names[e.name_iid] != "wait"]
        with_body = table[number, : counts[number], 0] >= 0
        assert len(tasks) == 4 * with_body.sum()
        for event, words in zip(
            tasks, np.tile(table[number, : counts[number]][with_body], (4, 1)), strict=True
        ):
            facts = {
                keys[a.name_iid]: texts[a.string_value_iid] if a.string_value_iid else a.int_value
                for a in event.debug_annotations
            }
            family = families[names[event.name_iid]]
            assert (facts["kind"], facts["module"]) == (family["kind"], family["module"])
            assert (facts["begin"], facts["end"]) == tuple(words[2:4])


def test_steps_lie_one_after_the_other(tmp_path: Path) -> None:
    """Also where a worker begins the second while the other notes the end of the first: slices must not cross."""
    one = made()
    twice = np.concatenate([one.tasks, one.tasks])
    twice["step"][len(one.tasks) :] = 1
    for name in ("wait_begin", "body_begin", "body_end", "signalled"):
        twice[name][len(one.tasks) :] += 440  # the first has 450
    Timeline("both", 2, 1e10, one.families, [Step(7, 1, 600), Step(8, 1, 600)], twice, {}).write(
        tmp_path / "file"
    )
    trace = messages.Trace.FromString((tmp_path / "file").read_bytes())
    steps = next(p.track_descriptor.uuid for p in trace.packet if p.track_descriptor.name == "steps")
    events = [(p.timestamp, p.track_event.type) for p in trace.packet if p.track_event.track_uuid == steps]
    assert events == [(100, 1), (100, 1), (540, 2), (540, 1), (990, 2), (990, 2)]
    found = timeline.read(tmp_path / "file")
    assert [step.number for step in found.steps] == [7, 8] and len(found.tasks) == len(twice)


def test_a_trace_is_read_as_it_was_written(engine: Engine, tmp_path: Path) -> None:
    list(engine.generate([1, 2, 3], max_new_tokens=6))
    written = timeline.of(engine)
    written.write(tmp_path / "out.pftrace")
    found = timeline.read(tmp_path / "out.pftrace")
    assert (found.name, found.workers, found.ceiling) == (written.name, written.workers, written.ceiling)
    assert (found.families, found.steps) == (written.families, written.steps)
    waits = ~written.tasks["body"]  # of which a trace has no more than the wait
    np.testing.assert_array_equal(found.tasks[~waits], written.tasks[~waits])
    for name in ("worker", "instruction", "family", "wait_begin", "body_begin"):
        np.testing.assert_array_equal(found.tasks[name], written.tasks[name])
    waited = {(t["worker"], t["instruction"]) for t in written.tasks if t["body_begin"] > t["wait_begin"]}
    assert found.events == {key: value for key, value in written.events.items() if key in waited}
    assert found.events


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    other = messages.Trace()
    other.packet.add(timestamp=3)
    for content in (b"no trace at all", b"", other.SerializeToString()):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(InputError, match="file: not a trace of mk"):
            timeline.read(tmp_path / "file")


def test_without_perfetto_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    with pytest.raises(MkError, match=r"pip install mk-compiler\[trace\]"):
        timeline.read(tmp_path / "file")


# -------------------------------------------------------------------------------------------------------- the profile


def made() -> Timeline:
    """Two workers, two layers of a product and an attention, and a head; 1000 bytes a product, 600 of KV cache."""
    families = [
        Family(f"{n}.{name}", name, kind, f"m.layers.{n}.{name}")
        for n in range(2)
        for name, kind in (("q", "tiles"), ("attn", "attend"))
    ]
    families.append(Family("head", "head", "serial", "head"))
    tasks = [
        # step, worker, instruction, family, begin, end, body, bytes, then begin of wait and body, end, signalled, ring
        (0, 0, 0, 0, 0, 1, True, 500, 100, 110, 200, 210, 30),
        (0, 0, 1, 1, 0, 1, True, 0, 210, 260, 290, 300, 0),
        (0, 0, 2, 2, 0, 1, True, 500, 300, 310, 390, 400, 0),
        (0, 0, 3, 3, 0, 1, True, 0, 400, 400, 490, 500, 0),
        (0, 0, 4, 4, 0, 1, True, 0, 500, 500, 550, 550, 0),
        (0, 1, 0, 0, 1, 2, True, 500, 100, 100, 240, 250, 10),
        (0, 1, 1, 1, 0, 0, False, 0, 250, 280, 280, 280, 0),
        (0, 1, 2, 2, 1, 2, True, 500, 280, 280, 520, 530, 0),
    ]
    return Timeline("made", 2, 1e10, families, [Step(0, 1, 600)], np.array(tasks, TASK), {})


def test_times_of_a_profile_add_up_to_the_step() -> None:
    rows = profile(made())
    ns = [round(row.time * 1e9, 3) for row in rows]
    # The second attention ends before the product beside it: nothing waited for it alone.
    assert ns == [150, 50, 230, 0, 20]
    assert total(rows, "step").time == pytest.approx(450e-9)
    assert [round(row.exposed * 1e9, 3) for row in rows] == [0, 10, 0, 0, 0]
    assert [round(row.wait * 1e9, 3) for row in rows] == [5, 40, 5, 0, 0]
    assert [round(row.ring * 1e9, 3) for row in rows] == [20, 0, 0, 0, 0]
    assert [round(row.busy * 1e9, 3) for row in rows] == [95, 15, 160, 45, 25]
    assert [row.bytes for row in rows] == [1000, 300, 1000, 300, 0]
    assert [round(row.share(1e10), 6) for row in rows] == [0.666667, 0.6, 0.434783, 0, 0]


def test_a_profile_is_of_the_average_step() -> None:
    one = made()
    twice = np.concatenate([one.tasks, one.tasks])
    twice["step"][len(one.tasks) :] = 1
    for name in (
        "wait_begin",
        "body_begin",
        "body_end",
        "signalled",
    ):  # the second one runs at half the speed
        twice[name][len(one.tasks) :] = 5000 + 2 * one.tasks[name]
    both = Timeline("both", 2, 1e10, one.families, [Step(0, 1, 600), Step(1, 1, 1200)], twice, {})
    assert total(profile(both), "").time == pytest.approx(1.5 * 450e-9)
    assert total(profile(both), "").bytes == 2900


def test_kinds_and_layers_are_sums() -> None:
    rows = profile(made())
    kinds, layers = by_kind(made(), rows), by_layer(made(), rows)
    assert [(row.name, row.families) for row in kinds] == [("q", 2), ("attn", 2), ("head", 1)]
    assert [(row.name, row.families) for row in layers] == [
        ("m.layers.0", 2),
        ("m.layers.1", 2),
        ("other", 1),
    ]
    assert [row.bytes for row in layers] == [1300, 1300, 0] and layers[0].time == pytest.approx(200e-9)
    for group in (kinds, layers):
        assert total(group, "").time == pytest.approx(450e-9)
    paths = {"a.3.b": "a.3", "layers.12": "layers.12", "7.x.2": "7", "conv2.x": "", "": "", "h.4x.y": ""}
    assert {path: layer_of(path) for path in paths} == paths


def test_the_profile_of_a_run_reads_every_byte_of_the_stream(engine: Engine) -> None:
    engine.step([1] * 20, range(20), [3] * 20)
    found = timeline.of(engine)
    cache = program().manifest["cache"]
    assert cache is not None
    keys_and_values = 20 * cache["layers"] * cache["heads"] * 2 * cache["head_dim"] * 4
    assert total(profile(found), "").bytes == engine.step_bytes + keys_and_values
    engine.step([1] * 20, range(20, 40), [3] * 20, rows=[])  # the head multiplies nothing
    without = timeline.of(engine).tasks
    bytes = [without["weight_bytes"][without["step"] == step].sum() for step in range(2)]
    assert bytes[0] == engine.step_bytes > bytes[1] > 0


def test_a_window_is_all_that_attention_reads() -> None:
    """Of 20 and of 3 positions in two slots: all in the second layer, at most 8 in the first."""
    shape = Shape(window=8)
    compiled = compile_text(Llama(shape).text, Options(dtype="float32", max_length=96, trace=True, workers=2))
    made = Program(compiled.manifest, dict(compiled.arrays), compiled.code)
    with made.engine(Llama(shape).weights) as engine:
        engine.step([1] * 23, [*range(20), *range(3)], [1] * 20 + [0] * 3)
        found = timeline.of(engine)
    position = shape.heads * 2 * shape.head_dim * 4
    assert found.steps[0].kv_bytes == (8 + 3 + 20 + 3) * position
    rows = [
        row.bytes for row, f in zip(profile(found), found.families, strict=True) if f.kind_class == "attend"
    ]
    assert rows == [11 * position, 23 * position]


# -------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    _model_folder(place)
    return place


def test_run_writes_a_trace_and_explain_shows_it(
    folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("mk.timeline.timeline.read_ceiling", lambda manifest: 2e9)
    package, out = str(tmp_path / "model.mkp"), str(tmp_path / "out.pftrace")
    assert mk("compile", str(folder), "--trace", "-o", package) == 0
    for model in (str(folder), package):
        Path(out).unlink(missing_ok=True)
        assert mk("run", model, "-p", "abb", "-n", "9", "--trace", out, "--trace-steps", "2") == 0
        assert len(timeline.read(out).steps) == 2
    capsys.readouterr()
    assert mk("explain", "--profile", out) == 0
    text = capsys.readouterr().out
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    for line in (
        "ceiling     2.0 GB/s read",
        "linear_add",
        *(f"model.layers.{n} " for n in range(layers)),
        "step",
    ):
        assert f"\n{line}" in text
    assert "model.layers.0.mlp.down_proj" not in text
    assert mk("explain", "--profile", out, "--ceiling", "50", "--listing") == 0
    text = capsys.readouterr().out
    assert "50.0 GB/s" in text and "\nmodel.layers.0.mlp.down_proj " in text


def test_bench_writes_a_trace(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "out.pftrace"
    sizes = ("--tokens", "8", "--prompt-tokens", "20", "--runs", "1")
    assert mk("bench", str(folder), *sizes, "--trace", str(out)) == 0
    assert [step.tokens for step in timeline.read(out).steps] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("run", "PACKAGE", "-p", "a", "--trace", "out.pftrace"),
            "notes no times; make it with mk compile --trace",
        ),
        (
            ("run", "PACKAGE", "-p", "a", "--trace", "nowhere/out.pftrace"),
            "nowhere/out.pftrace: there is no folder",
        ),
        (("explain", "--profile", "PACKAGE"), "not a trace of mk"),
        (("explain", "--profile", "nothing.pftrace"), "No such file"),
        (("explain",), "nothing to explain"),
        (("explain", "PACKAGE", "--profile", "out.pftrace"), "nothing to explain"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fake_program.program().save("fake.mkp")
    assert mk(*("fake.mkp" if a == "PACKAGE" else a for a in arguments)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("mk: ") and message in captured.err and captured.err.count("\n") == 1


def test_the_ceiling_of_a_gpu_is_that_of_its_record() -> None:
    manifest = json.loads(json.dumps(program().manifest))
    manifest["target"] |= {"kind": "gpu", "bandwidth": 3150}
    assert read_ceiling(manifest) == 3.15e12
