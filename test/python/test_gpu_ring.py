# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""mk-verify-ring against kernels in which loader and consumers no longer agree."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from llama_text import Llama, Shape
from mk.compiler.driver import Lowering
from mk.compiler.options import Options
from mk.ir import Module
from mk.ir.diagnostics import PassError

# Rows of 2112 columns come in chunks, two tiles of 64 share a slot, and one key head serves two query heads.
SHAPE = Shape(64, heads=1, ratio=2, head_dim=32, inner=2112, vocabulary=96, layers=2, tied=False)


@functools.cache
def kernel(target: str = "sm_90a", shape: Shape = SHAPE) -> str:
    """The kernel of a model beside its program, with what each half of a CTA says of the ring."""
    options = Options(target=target, workers=3, max_sequences=4, max_length=96, page=16, split=32)
    lowering = Lowering(Llama(shape, "bf16", zeros=True).text, options, None)
    lowering.to("plan")
    for passes in ("mk-gpu-kinds-pipeline", "mk-build-kernel{keep=true}", "canonicalize", "cse"):
        lowering.module.run(passes)
    return lowering.module.text(locations=False)


def prove(text: str) -> str:
    module = Module.parse(text)
    module.run("mk-verify-ring")
    return module.text(locations=False)


@pytest.mark.parametrize("target", ["sm_90a", "sm_80"])
def test_kernels_are_proved(target: str) -> None:
    text = kernel(target)
    assert text.count("mk_cta.ring_holds") >= 6
    proved = prove(text)
    assert (
        "ring_holds" not in proved
        and "mk_task" not in proved
        and "@mk_main(" in proved
        and "@mk_main_8(" in proved
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"head_dim": 128},
        {"head_dim": 256, "layers": 1},
        {"hidden": 2112, "ratio": 1},
        {"head_norm": True},
        {"window": 21},
        {"window": 40, "head_dim": 64},
        {"experts": 5, "inner": 96},
        {"experts": 37, "chosen": 6, "hidden": 2112, "ratio": 1, "layers": 1},
    ],
)
def test_kernels_of_other_shapes_are_proved(changes: dict[str, int]) -> None:
    """Blocks of keys and values in slots of their own, in several; products in chunks before the head too."""
    prove(kernel(shape=replace(SHAPE, **changes)))


def part(text: str, begin: str, change: Callable[[str], str]) -> str:
    """`change` of what follows `begin`."""
    head, mark, rest = text.partition(begin)
    assert mark, begin
    changed = change(rest)
    assert changed != rest, f"nothing to change behind {begin}"
    return head + mark + changed


def first(pattern: str, to: str, begin: str = "") -> Callable[[str], str]:
    def change(text: str) -> str:
        def once(rest: str) -> str:
            return re.sub(pattern, to, rest, count=1, flags=re.MULTILINE)

        return part(text, begin, once) if begin else once(text)

    return change


LOADER = "nvvm.setmaxregister  decrease"
AWAIT = r"^( *)(%\w+) = mk_cta.ring_await {} .*$"
# What is changed in the kernel, and what the pass says of it.
FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "a slot is not given back": (
        first(r"^ *mk_cta.ring_release .*\n", ""),
        "expected to be given back once, found 0",
    ),
    "a slot is given back twice": (
        first(r"^( *mk_cta.ring_release .*\n)", r"\1\1"),
        "expected to be given back once, found 2",
    ),
    "a slot that holds nothing is given back": (
        lambda text: re.sub(r"(mk_cta.ring_release .*) if %\w+ :", r"\1 :", text),
        "(gives back a slot that was not waited for|expected to be given back once, found 2)",
    ),
    "a slot is not given back in steps of few tokens": (
        first(r"^ *mk_cta.ring_release .*\n", "", begin=".8("),
        "in kind '.*[.]8', in steps of 1 tokens and 1 rows: expected to be given back once, found 0",
    ),
    "a tile lies elsewhere in steps of few tokens": (
        first(r"(mk_cta.ring_holds )%\w+$", r"\1%c0", begin="func.func @mk_main_8("),
        r"the consumers take it for \(0 \+ 512 x stream\), the loader brings \(0\)",
    ),
    "consumers do not wait": (
        first(AWAIT.format("full"), r"\1\2 = arith.constant true"),
        "(gives back a slot that was not waited for|expected to be given back once)",
    ),
    "the loader does not wait": (
        first(AWAIT.format("empty"), r"\1\2 = arith.constant true", LOADER),
        r"expected a wait for slot and phase \(0, 1\), found \(unknown, unknown\)",
    ),
    "the loader waits for the wrong phase": (
        first(r"(mk_cta.ring_await empty %\w+\[%\w+\], )%\w+", r"\1%c0_i32", LOADER),
        r"expected a wait for slot and phase \(0, 1\), found \(0, 0\)",
    ),
    "more bytes are announced than are copied": (
        first(r"(mk_cta.ring_announce %\w+\[%\w+\], )%\w+", r"\1%c32_i32", LOADER),
        "expected as many bytes as are copied",
    ),
    "a tile lies elsewhere": (
        first(r"(mk_cta.ring_holds )%\w+$", r"\1%c0", LOADER),
        r"the consumers take it for \(0 \+ 512 x stream\), the loader brings \(0\)",
    ),
    "the loader takes fewer tiles at a time": (
        # Chunks, bytes of one, tiles of a slot, and whether of rows: of the products whose rows are one block.
        first(r"scf.yield %c1, %c512, %c\d+, ", "scf.yield %c1, %c512, %c1, ", LOADER),
        "(the consumers take it for|the consumers use .* slots only|the loader fills .* slots only)",
    ),
    "the loader takes the units of a batch first": (
        first(r"(arith.select %\w+, )%c4, ", r"\1%c1, ", LOADER),
        "(the consumers take it for|the consumers use .* slots only|the loader fills .* slots only)",
    ),
    "the ring has another size for the loader": (
        first(r"(ring_fill .*\n.*arith.addi .*\n.*arith.cmpi sge, %\w+, )%c\d+_i32", r"\1%c1_i32", LOADER),
        "expected a wait for slot and phase",
    ),
    # Of more than 8 tokens a CTA has all ranges of some heads: see AttendItems::deal.
    "the loader deals out single ranges": (
        first(r"(arith.cmpi sgt, %\w+, )%c8_i32", r"\1%c16_i32", LOADER),
        "in kind 'attend', in steps of 9 tokens .*(the consumers take it for|slots only)",
    ),
    "the loader knows of room for fewer ranges": (
        first(r"(arith.cmpi slt, %\w+, )%c4_i32(?= .*\n.*arith.cmpi sgt)", r"\1%c2_i32", LOADER),
        "in kind 'attend', in steps of 9 tokens .*(the consumers take it for|slots only)",
    ),
    "the consumers join ranges of few tokens": (
        # The first of the two is about the step before, of which words are taken back.
        first(
            r"(arith.cmpi sgt, %\w+, %c8_i32[\s\S]*?arith.cmpi sgt, %\w+, )%c8_i32",
            r"\1%c1_i32",
            begin="func.func private @attend(",
        ),
        "in kind 'attend', in steps of [2-8] tokens .*(the consumers take it for|slots only)",
    ),
    "a range of attention begins elsewhere": (
        first(r"(mk_cta.ring_holds )(%\w+), (%\w+), ", r"\1\3, \2, ", LOADER),
        "(the consumers take it for|expected)",
    ),
}


# The same for a mixture of experts.
EXPERTS = replace(SHAPE, experts=5)
OF_EXPERTS: dict[str, tuple[Callable[[str], str], str]] = {
    "the loader brings the first expert only": (
        first(r"(memref.load %\w+)\[%(?!c0)\w+\]( : memref<6xi32, 3>)", r"\1[%c1]\2", LOADER),
        "the consumers take it for",
    ),
    "the loader brings every expert that there is": (
        first(r"memref.load %\w+\[%c0\] : memref<6xi32, 3>", "arith.constant 5 : i32", LOADER),
        "the consumers use .* slots only|the consumers take it for|decides on|repeats",
    ),
    "the consumers take two units of an expert for four": (
        first(r"mk_cta.ring_release .* if %\w+ :.*\n", "", begin="func.func private @moe_linear"),
        "in kind 'moe_linear.*expected to be given back once, found 0",
    ),
}


@pytest.mark.parametrize("fault", OF_EXPERTS)
def test_experts_that_do_not_agree_are_refused(fault: str) -> None:
    change, message = OF_EXPERTS[fault]
    right = kernel(shape=EXPERTS)
    with pytest.raises(PassError, match=message):
        prove(change(right))


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_agree_is_refused(fault: str) -> None:
    change, message = FAULTS[fault]
    changed = change(kernel())
    assert changed != kernel()
    with pytest.raises(PassError, match=message) as error:
        prove(changed)
    assert "\n" not in str(error.value).strip()
