# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Engines of programs for a GPU, on a driver that is not one (fake_cuda.py)."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fake_gpu
import fake_program as fake
import mk
import numpy as np
import pytest
from fake_cuda import FakeCuda, Result
from mk.errors import DeviceStalled, InputError, MkError, PackageError
from mk.runtime.gpu import driver

PROMPT = fake.PROMPT


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch):
    cuda = fake_gpu.cuda()
    monkeypatch.setattr(driver, "bindings", lambda: cuda)
    yield cuda


@pytest.fixture
def engine(cuda: FakeCuda):
    with fake_gpu.program().engine() as engine:
        yield engine


def test_steps_give_the_logits_of_their_rows(engine: Any):
    found = engine.step(PROMPT, list(range(len(PROMPT))), [1] * len(PROMPT))
    np.testing.assert_array_equal(found, [fake.expected_row(PROMPT[: n + 1]) for n in range(len(PROMPT))])


def test_a_generation_is_one_launch_after_the_prompt(engine: Any, cuda: FakeCuda):
    cuda.launched.clear()
    assert list(engine.generate(PROMPT, max_new_tokens=12)) == fake.expected_tokens(PROMPT, 12)
    chunks = -(-len(PROMPT) // fake.SIZES["max_tokens"])
    assert cuda.launched == ["mk_main"] * chunks
    assert engine.length(0) == len(PROMPT) + 11
    stop = fake.expected_tokens(PROMPT, 12)[3]
    assert len(list(engine.generate(PROMPT, max_new_tokens=12, stop_ids=[stop]))) <= 3


def test_tokens_come_while_the_kernel_runs(cuda: FakeCuda):
    with fake_gpu.program(microseconds=50_000).engine() as engine:
        tokens = engine.generate([1], max_new_tokens=20)
        began = time.monotonic()
        assert next(tokens) == fake.expected_tokens([1], 1)[0]
        assert time.monotonic() - began < 0.5
        tokens.close()
        assert time.monotonic() - began < 0.7
        assert 1 <= engine.length(0) < 15
        np.testing.assert_array_equal(engine.step([3], [0], [1])[0], fake.expected_row([3]))


def test_interrupt_ends_the_run_and_the_engine_stays_usable(cuda: FakeCuda):
    with fake_gpu.program(microseconds=50_000).engine() as engine:
        timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(engine.generate([1], max_new_tokens=30))
        assert time.monotonic() - began < 1
        assert list(engine.generate([1], max_new_tokens=3)) == fake.expected_tokens([1], 3)


def test_a_cancel_that_comes_too_late_does_not_cancel_the_next_run(engine: Any):
    for _ in range(20):
        tokens = engine.generate(PROMPT, max_new_tokens=2)
        next(tokens)
        tokens.close()
        assert len(list(engine.generate([1], max_new_tokens=8))) == 8


def test_stall_names_every_worker_its_task_and_what_it_waits_for(cuda: FakeCuda):
    engine = fake_gpu.program(hang_at=1).engine()
    engine.step([1], [0], [0])
    with pytest.raises(DeviceStalled) as caught:
        engine.step([1], [1], [0])
    assert str(caught.value) == (
        "the program made no progress: worker 0 in model (model): waiting for the end of the step, which has seen 9; "
        "workers 1-2 in model (model): waiting for event 1 (finished), which has seen 5-6; make a new engine"
    )
    with pytest.raises(DeviceStalled, match="make a new one"):
        engine.step([1], [1], [0])
    engine.close()


def test_engines_take_turns_even_with_a_generation_that_was_left_half_way(cuda: FakeCuda):
    with fake_gpu.program(microseconds=20_000).engine() as one, fake_gpu.program().engine() as two:
        tokens = one.generate([1], max_new_tokens=10)
        next(tokens)
        np.testing.assert_array_equal(two.step([3], [0], [0])[0], fake.expected_row([3]))
        assert one._device._has_ended()  # the other's run began behind it
        with pytest.raises(InputError, match="the engine is busy"):
            one.step([1], [0], [1])
        assert len(list(tokens)) == 9
        one.close()
        np.testing.assert_array_equal(two.step([4], [1], [0])[0], fake.expected_row([3, 4]))


def test_close_frees_everything(cuda: FakeCuda):
    engine = fake_gpu.program().engine()
    tokens = engine.generate([1], max_new_tokens=20)
    next(tokens)
    engine.close()
    engine.close()
    with pytest.raises(InputError, match="closed"):
        engine.step([1], [0], [0])
    assert list(tokens) == []
    del engine, tokens
    lost = fake_gpu.program().engine()
    lost.step([1], [0], [0])
    del lost
    with pytest.raises(mk.WeightError):
        fake_gpu.program().engine({})
    gc.collect()
    assert (cuda.blocks, cuda.modules, cuda.contexts, cuda.streams, cuda.events) == ({}, 0, 0, 0, 0)


def test_a_fault_of_the_gpu_is_one_line_and_lasts(engine: Any, cuda: FakeCuda):
    cuda.fails["cuStreamQuery"] = Result.CUDA_ERROR_ILLEGAL_ADDRESS
    with pytest.raises(MkError, match=r"the GPU failed during a run \(CUDA_ERROR_ILLEGAL_ADDRESS\)"):
        engine.step([1], [0], [0])
    del cuda.fails["cuStreamQuery"]
    with pytest.raises(MkError, match="only a new process"):
        engine.step([1], [0], [0])


# ---------------------------------------------------------------------------------------------------- other processes

HOLDER = """
import sys
from types import SimpleNamespace
from mk.errors import MkError
from mk.runtime.gpu.claim import Claim
try:
    claim = Claim(SimpleNamespace(name="Fake GPU", uuid=bytes.fromhex(sys.argv[1])))
except MkError as error:
    sys.exit(str(error))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(cuda: FakeCuda) -> Iterator[tuple[Any, str]]:
    """One that wants the GPU, and its first line: "held" if it gets it."""
    command = [sys.executable, "-c", HOLDER, cuda.uuid.hex()]
    environment = {**os.environ, "PYTHONPATH": str(Path(mk.__file__).parents[1])}
    pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
        assert process.stdout
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_gpu_with_an_engine_of_another_process_is_refused(cuda: FakeCuda):
    with another_process(cuda) as (other, said):
        assert said == "held"
        with pytest.raises(MkError, match=f"^Fake GPU: process {other.pid} has an engine on it.*one process"):
            fake_gpu.program().engine()
        assert cuda.modules == cuda.contexts == 0 and not cuda.blocks
        other.kill()  # however it ends
        other.wait()
        fake_gpu.program().engine().close()


def test_the_last_engine_of_a_process_gives_the_gpu_back(cuda: FakeCuda):
    with pytest.raises(mk.WeightError):
        fake_gpu.program().engine({})
    with fake_gpu.program().engine():
        with fake_gpu.program().engine():
            pass
        with another_process(cuda) as (other, said):
            assert not said and f"process {os.getpid()} has an engine on it" in other.stderr.read()
    with another_process(cuda) as (_, said):
        assert said == "held"


def test_the_child_of_a_fork_has_no_claim(cuda: FakeCuda):
    with fake_gpu.program().engine():
        ends, wait = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.close(wait[1])
            os.write(ends[1], b".")
            os.read(wait[0], 1)
            os._exit(0)
        os.read(ends[0], 1)
    try:
        with another_process(cuda) as (_, said):
            assert said == "held"
    finally:
        for end in (*ends, *wait):
            os.close(end)
        os.waitpid(child, 0)


# --------------------------------------------------------------------------------------------------------- refusals


def test_a_package_can_be_loaded_where_there_is_no_gpu(tmp_path: Path):
    fake_gpu.program().save(tmp_path / "gpu.mkp")
    program = mk.load(tmp_path / "gpu.mkp")
    assert program.manifest["gpu"] == {"threads": 288, "shared": 1000, "kernels": [fake_gpu.KERNEL]}
    with pytest.raises(
        MkError, match=r"^this machine has (no NVIDIA driver, so|an NVIDIA driver but shows) no GPU"
    ):
        program.engine(fake_gpu.weights())


def test_a_driver_without_a_function_is_too_old(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch):
    def absent(*arguments: Any) -> None:
        raise RuntimeError('Function "cuLaunchCooperativeKernel" not found')

    monkeypatch.setattr(cuda, "cuLaunchCooperativeKernel", absent, raising=False)
    with (
        fake_gpu.program().engine() as engine,
        pytest.raises(MkError, match="driver is too old: it has no cuLaunch"),
    ):
        engine.step([1], [0], [0])


def test_missing_bindings_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cuda", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MkError, match=r"needs the package cuda-bindings.*mk-compiler\[gpu\]"):
        fake_gpu.program().engine()


def test_no_device_is_one_line(cuda: FakeCuda):
    cuda.fails["cuInit"] = Result.CUDA_ERROR_NO_DEVICE
    with pytest.raises(MkError, match="shows no GPU to this process"):
        fake_gpu.program().engine()


def test_driver_that_cannot_load_the_code(cuda: FakeCuda):
    cuda.fails["cuModuleLoadData"] = Result.CUDA_ERROR_NO_BINARY_FOR_GPU
    with pytest.raises(
        PackageError, match=r"made for sm_90a.*knows CUDA up to 12\.4.*update the NVIDIA driver"
    ):
        fake_gpu.program().engine()


def test_code_without_a_kernel(cuda: FakeCuda):
    del cuda.kernels["mk_pack"]
    with pytest.raises(PackageError, match="no kernel 'mk_pack'"):
        fake_gpu.program().engine()


@pytest.mark.parametrize(
    ("arch", "capability", "runs"),
    [
        ("sm_90a", (9, 0), True),
        ("sm_90a", (10, 0), False),
        ("sm_80", (8, 9), True),
        ("sm_80", (9, 0), False),
        ("sm_89", (8, 6), False),
        ("sm_100f", (10, 3), True),
        ("sm_120a", (12, 0), True),
        ("x86_64", (9, 0), False),
    ],
)
def test_code_for_another_gpu(cuda: FakeCuda, arch: str, capability: tuple[int, int], runs: bool):
    cuda.attributes |= {"major": capability[0], "minor": capability[1]}
    program = fake_gpu.program()
    program.manifest["target"]["arch"] = arch
    if runs:
        program.engine().close()
    else:
        with pytest.raises(
            PackageError, match=rf"made for {arch}, but this GPU is Fake GPU, sm_{capability[0]}"
        ):
            program.engine()


def test_too_few_multiprocessors(cuda: FakeCuda):
    cuda.attributes["sms"] = 3
    with pytest.raises(
        PackageError, match=r"made for 4 workers.*has 3 SMs; compile the model again with workers=3"
    ):
        fake_gpu.program().engine()


def test_too_little_shared_memory(cuda: FakeCuda):
    cuda.attributes["shared"] = 999
    with pytest.raises(PackageError, match=r"needs 1000 bytes of shared memory in a block.* gives 999"):
        fake_gpu.program().engine()


def test_workers_that_are_not_resident_at_once(cuda: FakeCuda):
    cuda.resident = 0
    with pytest.raises(MkError, match="cannot hold the 4 workers of this program at once"):
        fake_gpu.program().engine()


def test_too_little_memory_says_what_would_fit(cuda: FakeCuda):
    cuda.memory = 160 << 20
    program = fake_gpu.program()
    assert program.manifest["cache"]
    program.manifest["cache"]["block"] = 1 << 20
    with pytest.raises(
        MkError, match=r"Fake GPU has too little memory: .* needed.* free; pool_pages=\d+ would"
    ) as e:
        program.engine(pool_pages=1000)
    fits = int(str(e.value).split("pool_pages=")[1].split()[0])
    with pytest.raises(MkError, match="too little memory"):
        program.engine(pool_pages=fits + 4)
    program.engine(pool_pages=fits).close()
    cuda.memory = 1 << 20
    with pytest.raises(MkError, match="no page of the KV pool fits"):
        program.engine()


def test_a_context_longer_than_the_pool(cuda: FakeCuda):
    with fake_gpu.program().engine(pool_pages=2) as engine:
        first = engine.step(PROMPT[:8], range(8), [0] * 8)
        with pytest.raises(
            InputError, match=r"^the KV pool has 0 free pages of 4 positions, but slot 0 needs 1 more; reset"
        ):
            engine.step(PROMPT[8:9], [8], [0])
        with pytest.raises(InputError, match="but slot 0 needs 3 more"):
            list(engine.generate(PROMPT[:8], max_new_tokens=2))
        engine.reset(0)
        np.testing.assert_array_equal(engine.step(PROMPT[:8], range(8), [1] * 8), first)


def test_manifest_without_a_word_that_the_runtime_writes(tmp_path: Path):
    program = fake_gpu.program()
    abi: Any = program.manifest["abi"]
    abi["context"] = [field for field in abi["context"] if field["name"] != "stall_ns"]
    program.save(tmp_path / "old.mkp")
    with pytest.raises(PackageError, match="do not know stall_ns"):
        mk.load(tmp_path / "old.mkp")
