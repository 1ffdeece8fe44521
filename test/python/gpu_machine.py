# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a program for a GPU on this processor: the generated kernel, instruction for instruction, on gpu_machine.c.

The kernel is taken at level llvm, the last before PTX. What only a GPU has (shuffles, barriers, bulk copies, tensor
cores) becomes a call; loads, stores, addresses and arithmetic are compiled for this processor as they are.
"""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess
from pathlib import Path
from typing import Any

from fake_cuda import FakeCuda
from mk.compiler.driver import Lowering, kernels_of
from mk.compiler.options import Options
from mk.compiler.ptxas import Report
from mk.compiler.target import find_target
from mk.ir import Module
from mk.program import Program

HERE = Path(__file__).resolve().parent
# Texts of inline PTX, by a part that only one has, and what stands for them.
ASSEMBLY = {
    "%tid.x": "gpu_tid",
    "cta.shared.add": "gpu_await_timed",
    "ld.acquire.cta": "gpu_hear",
    "spin:": "gpu_await_told",
    "ld.volatile.shared.u32 word": "gpu_await_or",
    "mbarrier.try_wait": "gpu_await",
    "mbarrier.test_wait": "gpu_await",
    "cp.async.cg": "gpu_copy_piece",
    "cp.async.mbarrier": "gpu_arrive_behind",
    "st.relaxed.gpu.global.u64": "gpu_stamp",
    "red.relaxed": "gpu_arrive",
    "red.release": "gpu_add",
    "ld.acquire.gpu": "gpu_look",
    "ld.relaxed.gpu.global.u32": "gpu_flagged",
    "st.relaxed.gpu.global.u32": "gpu_flag",
    "%globaltimer": "gpu_clock",
    "st.volatile.shared": "gpu_set",
    "ld.volatile.shared.u32 $0": "gpu_get",
    "st.relaxed.sys": "gpu_stall",
    "st.release.sys.global.u64 [$0], $1;": "gpu_store",
    "mbarrier.init": "gpu_mbarrier_init",
    "createpolicy": "gpu_fill",
    "cp.async.bulk": "gpu_copy",
    "expect_tx": "gpu_announce",
    "st.release.cta": "gpu_tell",
    "setp.eq.u32 one, $1, 0;": "gpu_release",
    "mbarrier.arrive.shared": "gpu_mbarrier_arrive",
    "fence": "gpu_fence",
}
_CALL = r"^( *)(%\w+) = "


def _name(assembly: str) -> str:
    return next(name for part, name in ASSEMBLY.items() if part in assembly)


def for_this_processor(text: str) -> str:
    """The text of a module at level llvm, with calls for what only a GPU has."""
    rules: list[tuple[str, Any]] = [
        (r"ptr<[13]>", "ptr"),
        (r" *llvm.mlir.global external @mk_shared.*\n", ""),
        (r"llvm.mlir.addressof @mk_shared : ", "llvm.call @gpu_shared() : () -> "),
        (r"nvvm.kernel, nvvm.maxntid = array<i32: \d+>, nvvm.minctasm = \d+ : i32", ""),
        (r'passthrough = \["alwaysinline"\], ', ""),
        (r" \{llvm.align = 8 : i64, llvm.byval = [^}]*\}", ""),
        (r"nvvm.read.ptx.sreg.(\w+).[xz]", r"llvm.call @gpu_\1() : ()  ->"),
        (r"->  *: i32", "-> i32"),
        (
            r"nvvm.shfl.sync +(\w+) (%\w+), (%\w+), (%\w+), %\w+ : i32 -> i32",
            r"llvm.call @gpu_shfl_\1(\2, \3, \4) : (i32, i32, i32) -> i32",
        ),
        (
            _CALL + r"nvvm.shfl.sync +(\w+) (%\w+), (%\w+), (%\w+), %\w+ : f32 -> f32",
            r"\1\2_a = llvm.bitcast \5 : f32 to i32"
            "\n"
            r"\1\2_b = llvm.call @gpu_shfl_\3(\4, \2_a, \6) : (i32, i32, i32) -> i32"
            "\n"
            r"\1\2 = llvm.bitcast \2_b : i32 to f32",
        ),
        (
            r"nvvm.barrier id = (%\w+) number_of_threads = (%\w+)",
            r"llvm.call @gpu_barrier(\1, \2) : (i32, i32) -> ()",
        ),
        (r" *nvvm.setmaxregister.*\n", ""),
        (r"nvvm.barrier0", "llvm.call @gpu_barrier_all() : () -> ()"),
        (r"nvvm.bar.warp.sync %\w+ : i32", "llvm.call @gpu_warp() : () -> ()"),
        (
            _CALL + r"nvvm.vote.ballot.sync %\w+, (%\w+) : i32",
            r"\1\2_a = llvm.zext \3 : i1 to i32" "\n" r"\1\2 = llvm.call @gpu_ballot(\2_a) : (i32) -> i32",
        ),
        (
            _CALL + r'llvm.inline_asm [^"]*"ld.shared.v4.u32 [^"]*", "[^"]*" (%\w+) : \(i32\) -> (.*)$',
            lambda m: _struct(
                m[1], m[2], m[4], [f"llvm.call @gpu_word{i}({m[3]}) : (i32) -> i32" for i in range(4)]
            ),
        ),
        (
            _CALL + r'llvm.inline_asm [^"]*"ldmatrix[^"]*", "[^"]*" (%\w+) : \(i32\) -> (.*)$',
            lambda m: "\n".join(
                [
                    f"{m[1]}llvm.call @gpu_transpose({m[3]}) : (i32) -> ()",
                    _struct(m[1], m[2], m[4], [f"llvm.call @gpu_column{i}() : () -> i32" for i in range(4)]),
                ]
            ),
        ),
        (
            _CALL
            + r'llvm.inline_asm [^"]*"ld.relaxed.gpu.global.v(\d).u32 [^"]*", "[^"]*" (%\w+) : \(i64\) -> (.*)$',
            lambda m: _struct(
                m[1],
                m[2],
                m[5],
                [f"llvm.call @gpu_flagged{i}({m[4]}) : (i64) -> i32" for i in range(int(m[3]))],
            ),
        ),
        (
            r'llvm.inline_asm has_side_effects asm_dialect = att "([^"]*)", "[^"]*" ([^:\n]*) : ',
            lambda m: f"llvm.call @{_name(m[1])}({m[2].strip()}) : ",
        ),
        (
            _CALL + r'llvm.call_intrinsic "llvm.nvvm.ff2bf16x2.rn"(.*) -> vector<2xbf16>',
            r"\1\2_a = llvm.call @gpu_bf16x2\3 -> i32"
            "\n"
            r"\1\2 = llvm.bitcast \2_a : i32 to vector<2xbf16>",
        ),
        (r'llvm.call_intrinsic "llvm.nvvm.(ex2|rcp|rsqrt).approx.(ftz.)?f"', r"llvm.call @gpu_\1"),
        (_CALL + r'llvm.call_intrinsic "llvm.nvvm.mma.[^"]*"(.*) -> (.*)$', _product),
        (
            _CALL + r"llvm.fptrunc (%\w+) : f32 to bf16",
            r"\1\2_a = llvm.call @gpu_bf16(\3) : (f32) -> i32"
            "\n"
            r"\1\2_b = llvm.trunc \2_a : i32 to i16"
            "\n"
            r"\1\2 = llvm.bitcast \2_b : i16 to bf16",
        ),
        (
            _CALL + r"llvm.fptrunc (%\w+) : vector<2xf32> to vector<2xbf16>",
            r"\1\2_a = llvm.bitcast \3 : vector<2xf32> to i64"
            "\n"
            r"\1\2_b = llvm.call @gpu_pair(\2_a) : (i64) -> i32"
            "\n"
            r"\1\2 = llvm.bitcast \2_b : i32 to vector<2xbf16>",
        ),
    ]
    text = re.sub(r"%(\d+)\b", r"%v\1", text)
    for pattern, with_ in rules:
        text = re.sub(pattern, with_, text, flags=re.MULTILINE)
    left = re.search(r"nvvm\.|inline_asm|call_intrinsic", text)
    assert left is None, text[left.start() : left.start() + 300]
    types: dict[str, str] = {}
    for name, given, result in re.findall(r"llvm.call @(gpu_\w+)\([^)]*\) : \(([^)]*)\) *-> *(.*)", text):
        types[name] = f"llvm.func @{name}({given})" + ("" if result == "()" else f" -> {result}")
    head, rest = "module {", text.split("\n", 1)[1]
    return "\n".join([head, *types.values(), rest])


def _struct(indent: str, name: str, type_: str, fields: list[str]) -> str:
    """The lines that make a struct of what the calls give."""
    lines, last = [f"{name}_u = llvm.mlir.undef : {type_}"], f"{name}_u"
    for i, field in enumerate(fields):
        after = name if i == len(fields) - 1 else f"{name}_s{i}"
        lines += [f"{name}_f{i} = {field}", f"{after} = llvm.insertvalue {name}_f{i}, {last}[{i}] : {type_}"]
        last = after
    return "\n".join(indent + line for line in lines)


def _product(match: re.Match[str]) -> str:
    indent, name, call, type_ = match.groups()
    sums = [f"llvm.call @gpu_sum{i}() : () -> f32" for i in range(4)]
    return f"{indent}llvm.call @gpu_mma{call} -> ()\n" + _struct(indent, name, type_, sums)


def threads_of(text: str) -> int:
    """Of a CTA of mk_main, from its text at level llvm."""
    found = re.search(r"@mk_main\(.*maxntid = array<i32: (\d+)>", text)
    assert found is not None
    return int(found[1])


def library(text: str, folder: Path) -> ctypes.CDLL:
    """The kernels of a module at level llvm as a library of this processor, with gpu_launch of gpu_machine.c."""
    target = find_target()
    (folder / "kernels.o").write_bytes(
        Module.parse(for_this_processor(text)).emit_object(target.cpu, target.llvm_features)
    )
    made = folder / "kernels.so"
    files = [str(HERE / "gpu_machine.c"), str(folder / "kernels.o")]
    flags = ["-O2", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, *files, "-o", str(made), "-lm"], check=True)
    loaded = ctypes.CDLL(str(made))
    loaded.gpu_launch.restype = ctypes.c_char_p
    loaded.gpu_launch.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint64,
    ]  # fmt: skip
    loaded.mk_pack.argtypes = [ctypes.c_uint64] * 4 + [ctypes.c_int64] * 4
    loaded.mk_random.argtypes = [ctypes.c_uint64, ctypes.c_int64, ctypes.c_int64, ctypes.c_float]
    return loaded


class GpuMachine:
    """A program for a GPU, compiled from text of the `mk` dialect, and the driver of a GPU that runs it."""

    def __init__(self, text: str, options: Options, folder: Path) -> None:
        lowering = Lowering(text, options, None)
        lowering.to("llvm")
        text_of_kernels = lowering.module.text(locations=False)
        self._library = library(text_of_kernels, folder)
        assert lowering._plan is not None
        manifest, arrays = lowering._plan
        shared = manifest["arenas"]["scratch"]
        threads = threads_of(text_of_kernels)
        mains = re.findall(r"@(mk_main\w*)\(%", text_of_kernels)
        reports = [Report(name=name, threads=threads, registers=0, spills=0) for name in mains]
        kernels = kernels_of(reports, manifest)
        manifest["gpu"] = {"threads": threads, "shared": shared, "kernels": kernels}
        self.program = Program(manifest, dict(arrays), b"a cubin")
        self._shape = (manifest["target"]["workers"], threads, shared)
        self.seed = 0  # of the order in which threads run
        self.faults: list[str] = []
        words = ctypes.c_uint64 * manifest["abi"]["context_words"]
        pointer, number = ctypes.c_uint64, ctypes.c_int64
        self.cuda = FakeCuda(
            {
                **{name: (functools.partial(self._main, name), [words]) for name in mains},
                "mk_pack": (self._library.mk_pack, [pointer] * 4 + [number] * 4),
                "mk_random": (self._library.mk_random, [pointer, number, number, ctypes.c_float]),
            }
        )
        major, minor = divmod(int(re.sub(r"\D", "", options.target)), 10)
        self.cuda.attributes |= {"sms": self._shape[0], "shared": shared, "major": major, "minor": minor}

    def filled(self) -> int:
        """Bytes of weights that bulk copies have brought so far."""
        return ctypes.c_int64.in_dll(self._library, "gpu_filled").value

    def _main(self, name: str, words: list[int]) -> None:
        context = (ctypes.c_uint64 * len(words))(*words)
        kernel = ctypes.cast(self._library[name], ctypes.c_void_p)
        self.seed += 1
        fault = self._library.gpu_launch(kernel, ctypes.addressof(context), *self._shape, self.seed)
        if fault is not None:
            self.faults.append(fault.decode())
            raise RuntimeError(fault.decode())
