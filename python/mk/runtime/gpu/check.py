# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether the manifest of a program for a GPU says what this runtime needs. Needs no GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mk.errors import PackageError

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest

BLOCK_BYTES = 512  # of a tile: 4 rows of 64 columns
_BLOCK, _CHUNK = 64, 32  # columns of a block, and the most blocks that are copied at once
WORDS = frozenset(
    {
        "table",
        "instructions",
        "events",
        "stream",
        "params",
        "activations",
        "kv",
        "request",
        "step",
        "pool_pages",
        "host",
        "stall",
        "stall_ns",
    }
)


def tile_blocks(columns: int) -> int:
    """Blocks of a tile, padding included: as mk_task::FragmentTile, whose chunks are all of one size."""
    blocks = -(-columns // _BLOCK)
    chunks = -(-blocks // _CHUNK)
    return chunks * -(-blocks // chunks)


def check_gpu_manifest(manifest: Manifest) -> None:
    """Raises PackageError if a word of the context is missing or a number of the launch cannot be."""
    words = {field["name"]: field["index"] for field in manifest["abi"]["context"]}
    missing = sorted(WORDS - words.keys())
    if missing:
        raise PackageError(
            f"made by mk {manifest['version']}, whose programs do not know {', '.join(missing)}, which this runtime "
            "needs; compile the model again"
        )
    count, launch = manifest["abi"]["context_words"], manifest["gpu"]
    if not all(0 <= index < count for index in words.values()):
        raise PackageError(f"the program is damaged: a context of {count} words; compile the model again")
    tokens = [kernel["tokens"] for kernel in launch["kernels"]] if launch else []
    complete = bool(tokens) and tokens[-1] == manifest["sizes"]["max_tokens"] and tokens == sorted(tokens)
    if not launch or not complete or not 1 <= launch["threads"] <= 1024 or not 0 <= launch["shared"] < 2**31:
        raise PackageError(f"the program is damaged: launched as {launch}; compile the model again")
    for weight in manifest["weights"]:
        if weight["layout"] == "tiles" and weight["dtype"] != "bfloat16":
            raise PackageError(
                f"the program is damaged: {weight['name']} is {weight['dtype']}, tiles of a GPU are bfloat16; compile "
                "the model again"
            )
