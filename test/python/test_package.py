# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Packages and the cache: what is saved comes back, what is damaged is refused, what cannot be written only warns."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import fake_program as fake
import mk
import numpy as np
import pytest
from mk.compiler.table import table_text
from mk.errors import PackageError
from mk.report import report
from mk.runtime import cache, package, validate
from safetensors import safe_open
from safetensors.numpy import save_file


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MK_CACHE", raising=False)
    monkeypatch.setattr(cache, "_warned", False)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    fake.program(
        files={"tokenizer.json": b"{}", "empty": b""},
        source="/a/model",
        constants={"freq": np.arange(3, dtype=np.float32)},
    ).save(tmp_path / "fake.mkp")
    return tmp_path / "fake.mkp"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file(fake.weights(), folder / "model.safetensors")
    return folder


def test_what_is_saved_comes_back_and_runs(saved: Path):
    program, original = mk.load(saved), fake.program()
    assert (
        program.manifest == original.manifest
        and program.code == original.code
        and program.facts == original.facts
    )
    assert program.files == {"tokenizer.json": b"{}", "empty": b""} and program.source == "/a/model"
    assert program.constants["freq"].tolist() == [0, 1, 2] and program.arrays.keys() == original.arrays.keys()
    assert program.weights is None
    with program.engine(fake.weights()) as engine:
        np.testing.assert_array_equal(engine.step([3], [0], [0])[0], fake.expected_row([3]))


def test_running_a_package_imports_no_compiler_and_no_torch(saved: Path, checkpoint: Path):
    script = (
        "import sys, mk; e = mk.load(sys.argv[1]).engine(sys.argv[2]); e.step([3], [0], [0]); e.close(); "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'transformers', 'rich', 'typer') "
        "or m.startswith(('mk.compiler', 'mk.importer', 'mk.ir'))])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(saved), str(checkpoint)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_files_are_refused(saved: Path, keep: float):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(PackageError, match="not a whole package"):
        mk.load(saved)


def test_every_flipped_byte_is_noticed(saved: Path):
    data = saved.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), 60).tolist():
        changed = bytearray(data)
        changed[place] ^= 0x10
        saved.write_bytes(changed)
        with pytest.raises(PackageError):
            mk.load(saved)
    saved.write_bytes(data)
    mk.load(saved)


def test_other_files_are_refused(tmp_path: Path, checkpoint: Path):
    with pytest.raises(PackageError, match="no such file"):
        mk.load(tmp_path / "nothing.mkp")
    with pytest.raises(PackageError, match="not a package of mk"):
        mk.load(checkpoint / "model.safetensors")
    with pytest.raises(PackageError, match="not a file"):
        mk.load(tmp_path)


def _with(path: tuple[Any, ...], value: Any):
    def change(manifest: Any, arrays: Any) -> None:
        *way, last = path
        for step in way:
            manifest = manifest[step]
        manifest[last] = value

    return change


def _array(name: str, index: Any, value: int):
    def change(manifest: Any, arrays: Any) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][index] = value

    return change


def test_an_instruction_that_only_waits_is_none_of_a_kind(tmp_path: Path):
    """A task with more waits than an instruction has room for comes with another before it."""
    program = fake.program()
    table = program.arrays["table"] = program.arrays["table"].copy()
    table[1, 0, :5] = -2, 0, 0, 0, 1  # waits for event 0
    program.save(tmp_path / "waits.mkp")
    program = mk.load(tmp_path / "waits.mkp")
    found = report(program)
    assert [worker.tasks for worker in found.workers] == [1, 0] and found.workers[1].waits == 1
    assert found.kinds[0].tasks == 1
    lines = table_text(program.manifest, table, program.arrays["counts"]).splitlines()
    assert "serial" in lines[1] and lines[3].split()[2:] == ["units", "0..0", "wait", "appended", "x0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _with(("format",), 99),
            f"made by mk test in package format 99, but this is mk {mk.__version__}, which reads format 6; compile the "
            f"model again with mk {mk.__version__}",
        ),
        (
            _with(("abi", "instruction", 2, "index"), 7),
            f"made by mk test, .* another ABI .* mk {mk.__version__}; compile",
        ),
        (
            _with(("abi", "context_words"), 99),
            f"made by mk test, .* another ABI .* mk {mk.__version__}; compile",
        ),
        (_with(("abi", "request", 9, "offset"), 1 << 20), "lies outside its block"),
        (_with(("abi", "request", 8, "count"), 1), "the request array positions has 1 elements"),
        (_with(("target", "kind"), "sm_90a"), "made for the target 'sm_90a'"),
        (_with(("target", "arch"), "vax"), "made for vax, but this machine is"),
        (_with(("target", "features"), ["avx512f", "avx999"]), "avx999"),
        (_with(("target", "lanes"), 5), "5 lanes"),
        (_with(("target", "workers"), 3), "the table is"),
        (_with(("arenas", "stream"), 64), "a tile of w lies outside the stream"),
        (_with(("weights", 1, "offset"), 180), "bias lies outside the parameters"),
        (_with(("weights", 0, "dtype"), "int4"), "the manifest is damaged"),
        (_with(("logits",), "other"), "the logits are not"),
        (_with(("buffers", 0, "offset"), 400), "the logits lie outside"),
        (_with(("sizes",), None), "the manifest is damaged"),
        (_with(("sizes", "page"), 0), "the program is damaged"),
        (_with(("sizes", "max_length"), 33), "the program is damaged: sizes"),
        (_array("table", (1, 0, 0), 1), "worker 1 has an instruction with an unknown kind"),
        (_array("table", (0, 0, 14), 2), "unknown event"),
        (_array("table", (0, 0, 4), 4), "unknown number of waits"),
        (_array("table", (0, 1, 0), 0), "the list of worker 0 does not end"),
        (_array("counts", 0, 9), "instruction counts"),
        (_array("tile_offsets/w", 0, 2), "a tile of w lies outside the stream"),
        (lambda manifest, arrays: arrays.pop("counts"), "the manifest is damaged"),
    ],
)
def test_programs_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str):
    program = fake.program()
    change(program.manifest, program.arrays)
    program.save(tmp_path / "bad.mkp")
    with pytest.raises(PackageError, match=message):
        mk.load(tmp_path / "bad.mkp")


def test_features_have_linux_names(monkeypatch: pytest.MonkeyPatch):
    target: Any = copy.deepcopy(fake.program().manifest["target"])
    target["features"] = ["avx512bf16", "sse4.2", "lzcnt", "sse3", "sahf", "cx16", "some-system-thing"]
    flags = {"avx512_bf16", "sse4_2", "abm", "pni", "lahf_lm", "cx16"}
    monkeypatch.setattr(cache, "machine_flags", lambda: frozenset(flags))
    validate.check_fits_machine(target)
    monkeypatch.setattr(cache, "machine_flags", lambda: frozenset(flags - {"abm"}))
    with pytest.raises(PackageError, match="a processor with lzcnt, which this one lacks"):
        validate.check_fits_machine(target)


def test_what_llvm_finds_on_this_machine_is_what_linux_finds():
    from mk.compiler.target import find_target

    target = find_target()
    assert target.features
    validate.check_fits_machine({**fake.program().manifest["target"], "features": list(target.features)})


def test_saving_is_all_or_nothing(saved: Path, tmp_path: Path):
    before = saved.read_bytes()
    with pytest.raises(PackageError, match="cannot be written"):
        package.write(saved, {"code": np.zeros(1, object)}, {})
    with pytest.raises(PackageError, match="cannot be written"):
        fake.program().save(tmp_path / "no" / "folder.mkp")
    assert saved.read_bytes() == before
    assert [f for f in os.listdir(tmp_path) if f.startswith(".")] == []


def test_saving_follows_links_and_spares_devices(saved: Path, tmp_path: Path):
    link = tmp_path / "link.mkp"
    link.symlink_to(saved)
    saved.write_bytes(b"")
    fake.program().save(link)
    assert link.is_symlink() and mk.load(saved).facts.name == "fake"
    device = tmp_path / "device"
    os.mkfifo(device)
    with pytest.raises(PackageError, match="cannot be written: it is a folder or a device"):
        fake.program().save(device)
    assert device.is_fifo()


def test_package_is_plain_safetensors(saved: Path):
    with safe_open(saved, framework="np") as file:
        assert json.loads(file.metadata()["manifest"])["vocabulary"] == fake.VOCABULARY
        assert file.get_tensor("array/table").shape == (2, 2, 32)


# --------------------------------------------------------------------------------------------------------- cache


def test_packed_weights_are_kept_and_follow_the_file(checkpoint: Path):
    program = fake.program(weights=None, source=str(checkpoint))
    with program.engine() as engine:
        assert not engine.warm
        first = engine.step([3], [0], [0])
    with program.engine() as engine:
        assert engine.warm
        np.testing.assert_array_equal(engine.step([3], [0], [0]), first)
    save_file(
        {**fake.weights(), "bias": np.full(fake.VOCABULARY, 9, np.float32)}, checkpoint / "model.safetensors"
    )
    with program.engine() as engine:
        assert not engine.warm
        assert (engine.step([3], [0], [0]) != first).all()


def test_another_layout_is_another_entry(checkpoint: Path):
    fake.program(weights=None, source=str(checkpoint)).engine().close()
    other = fake.program(weights=None, source=str(checkpoint))
    other.arrays["tile_offsets/w"] = np.array([0, 1])
    other.arrays["table"][:, 0, 15] = [0, 1]
    with other.engine() as engine:
        assert not engine.warm
        np.testing.assert_array_equal(engine.step([3], [0], [0])[0], fake.expected_row([3]))


def test_damaged_entries_are_made_again(checkpoint: Path):
    program = fake.program(weights=None, source=str(checkpoint))
    program.engine().close()
    entry = next((cache.folder() / "weights").iterdir())
    for data in (b"", entry.read_bytes()[:-1], b"x" + entry.read_bytes()[1:]):
        entry.write_bytes(data)
        with program.engine() as engine:
            assert not engine.warm
            np.testing.assert_array_equal(engine.step([3], [0], [0])[0], fake.expected_row([3]))


def test_weights_in_memory_are_not_kept():
    fake.program().engine().close()
    assert not cache.folder().exists()


def test_unwritable_cache_warns_once_and_goes_on(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    program = fake.program(weights=None, source=str(checkpoint))
    with pytest.warns(RuntimeWarning, match="the cache cannot be written"):
        program.engine().close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with program.engine() as engine:
            np.testing.assert_array_equal(engine.step([3], [0], [0])[0], fake.expected_row([3]))


def test_cache_can_be_turned_off(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MK_CACHE", "0")
    program = fake.program(weights=None, source=str(checkpoint))
    program.engine().close()
    with program.engine() as engine:
        assert not engine.warm


def test_a_writer_that_fails_leaves_nothing():
    def writer(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.warns(RuntimeWarning, match="No space left"):
        assert cache.write("weights/x", writer) is None
    assert list((cache.folder() / "weights").iterdir()) == []
