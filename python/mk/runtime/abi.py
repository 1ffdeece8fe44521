# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether a program and the native runtime speak of the same words (runtime/abi/Abi.def)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mk.compiler.manifest import Abi


def abi_hash(abi: Abi) -> int:
    """The number that the native runtime's `mk_abi_hash` gives if it was built with this ABI."""
    fields = [
        f"{group} {field['name']} {field['index']}\n"
        for group, entries in (("instruction", abi["instruction"]), ("context", abi["context"]))
        for field in entries
        if field["name"] != "words"
    ]
    if "context_words" in abi:
        fields.append(f"context words {abi['context_words']}\n")
    fields += [f"request {array['name']} {array['type']}\n" for array in abi["request"]]
    value = 0xCBF29CE484222325  # FNV-1a
    for byte in "".join(fields).encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value
