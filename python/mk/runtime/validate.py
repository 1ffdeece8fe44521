# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether a program can run here: its format, its ABI, its machine, and every number that leads to an address."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mk import __version__
from mk.errors import PackageError
from mk.runtime import cache
from mk.runtime.abi import abi_hash
from mk.runtime.gpu.check import BLOCK_BYTES, check_gpu_manifest, tile_blocks
from mk.runtime.native import ALIGNMENT, library
from mk.runtime.packing import ELEMENT_BYTES
from mk.runtime.request import DTYPES, REQUIRED
from mk.view import row_numbers

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest, Target
    from mk.view import View

SIZES: tuple[Literal["max_tokens", "max_rows", "max_sequences", "max_length", "slot_pages", "page"], ...] = (
    "max_tokens",
    "max_rows",
    "max_sequences",
    "max_length",
    "slot_pages",
    "page",
)
FORMAT = 6  # of the manifests that this runtime reads
ONLY_WAITS = -2  # the kind of an instruction without a body, for waits that the next has no room for

# LLVM's name of a feature, where Linux's is not the same without its underscores and dots.
_LINUX_NAMES = {
    "sse3": "pni",
    "sha": "shani",
    "lzcnt": "abm",
    "rdrnd": "rdrand",
    "neon": "asimd",
    "fparmv8": "fp",
    "fullfp16": "asimdhp",
    "dotprod": "asimddp",
    "crc": "crc32",
    "crc32": "sse42",
    "sahf": "lahflm",
    "prfchw": "3dnowprefetch",
    "64bit": "lm",
    "bmi": "bmi1",
    "pclmul": "pclmulqdq",
    "fp16fml": "asimdfhm",
    "lse": "atomics",
}
# Features that code is made of. LLVM knows more, such as those of the operating system, and Linux lists not all.
_CODE_FEATURES = re.compile(
    r"(avx|amx|sse|ssse|fma|f16c|bmi|popcnt|movbe|lzcnt|adx|aes|vaes|gfni|sha$|pclmul|vpclmul|"
    r"neon|sve|sme|bf16|i8mm|dotprod|fullfp16|lse)"
)


def check_fits_machine(target: Target) -> None:
    """Raises PackageError if the code was made for a machine that this one is not.

    Whether the GPU fits is known when an engine is made: a package may be looked at where there is none.
    """
    if target["kind"] == "gpu":
        return
    if target["kind"] != "cpu":
        raise PackageError(f"made for the target '{target['kind']}', which this runtime does not have")
    here = platform.machine()
    if target["arch"] != here:
        raise PackageError(f"made for {target['arch']}, but this machine is {here}; compile the model here")
    flags = {re.sub(r"[._-]", "", flag) for flag in cache.machine_flags()}
    if not flags:
        return
    lacking = [
        f for f in target["features"] if not f.startswith("-") and not _has(f.removeprefix("+"), flags)
    ]
    if lacking:
        raise PackageError(
            f"made for a processor with {', '.join(lacking)}, which this one lacks; compile the model here"
        )


def _has(feature: str, flags: set[str]) -> bool:
    plain = re.sub(r"[._-]", "", feature)
    return not _CODE_FEATURES.match(feature) or plain in flags or _LINUX_NAMES.get(plain, plain) in flags


def check_manifest(manifest: Manifest, arrays: Mapping[str, np.ndarray[Any, Any]], has_code: bool) -> None:
    """Raises PackageError unless manifest and arrays fit this runtime and each other."""
    found, maker = manifest.get("format"), manifest.get("version", "of an unknown version")
    again = f"compile the model again with mk {__version__}"
    if found != FORMAT:
        raise PackageError(
            f"made by mk {maker} in package format {found}, but this is mk {__version__}, which reads format "
            f"{FORMAT}; {again}"
        )
    try:
        if manifest["target"]["kind"] == "gpu":
            check_gpu_manifest(manifest)  # Python is all of that runtime, and finds the words by their names
        elif abi_hash(manifest["abi"]) != library().mk_abi_hash():
            raise PackageError(
                f"made by mk {maker}, whose programs speak another ABI than the runtime of this mk {__version__}; "
                f"{again}"
            )
        _check(has_code, "the code is missing")
        for name, size in manifest["arenas"].items():
            _check(isinstance(size, int) and 0 <= size < 2**62, f"arena {name} has {size!r} bytes")
        arenas = manifest["arenas"]
        _check(2 * arenas["flagged"] <= arenas["activations"], "the flagged buffers need more memory")
        _check_request(manifest)
        _check_table(manifest, arrays)
        _check_weights(manifest, arrays)
        _check_logits(manifest)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise PackageError(
            f"the manifest is damaged ({type(error).__name__}: {error}); compile the model again"
        ) from error


def _check(condition: Any, what: str) -> None:
    if not condition:
        raise PackageError(f"the program is damaged: {what}; compile the model again")


def _check_request(manifest: Manifest) -> None:
    sizes, arrays = manifest["sizes"], {a["name"]: a for a in manifest["abi"]["request"]}
    _check(arrays.keys() >= REQUIRED, f"the request has no {', '.join(sorted(REQUIRED - arrays.keys()))}")
    for array in arrays.values():
        end = array["offset"] + array["count"] * np.dtype(DTYPES[array["type"]]).itemsize
        _check(
            array["offset"] >= 0
            and end <= manifest["arenas"]["request"]
            and array["offset"] % ALIGNMENT == 0,
            f"the request array {array['name']} lies outside its block",
        )
    _check(all(sizes[name] > 0 for name in SIZES), f"sizes {sizes}")
    _check(sizes["max_length"] <= sizes["slot_pages"] * sizes["page"], f"sizes {sizes}")
    least = dict.fromkeys(("tokens", "positions", "slots"), sizes["max_tokens"])
    least |= dict.fromkeys(
        ("rows", "remaining", "temperature", "top_k", "top_p", "min_p", "seed"), sizes["max_rows"]
    )
    least["page_table"] = sizes["max_sequences"] * sizes["slot_pages"]
    least["mailbox"] = 2 * sizes["max_rows"]
    for name, count in least.items():
        _check(
            arrays[name]["count"] >= count, f"the request array {name} has {arrays[name]['count']} elements"
        )


def _check_table(manifest: Manifest, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    table, counts = arrays["table"], arrays["counts"]
    workers, words = manifest["target"]["workers"], manifest["abi"]["instruction_words"]
    _check(
        table.dtype == np.int32 and table.ndim == 3 and table.shape[0] == workers and table.shape[2] == words,
        f"the table is {table.dtype} {list(table.shape)}",
    )
    _check(
        counts.shape == (workers,) and (counts >= 0).all() and (counts <= table.shape[1]).all(),
        f"the instruction counts are {counts.tolist()}",
    )
    place = {field["name"]: field["index"] for field in manifest["abi"]["instruction"]}
    for worker, count in enumerate(counts.tolist()):
        used = table[worker, :count]
        working = used[used[:, place["kind"]] != ONLY_WAITS]
        _within(working[:, place["kind"]], 0, len(manifest["kinds"]), worker, "kind")
        _within(used[:, place["family"]], 0, len(manifest["families"]), worker, "family")
        _within(used[:, place["waits"]], 0, 4, worker, "number of waits")
        _within(used[:, place["signal"]], -1, len(manifest["events"]), worker, "event")
        for wait in range(3):
            waiting = used[used[:, place["waits"]] > wait]
            _within(waiting[:, place["wait_event"] + wait], 0, len(manifest["events"]), worker, "event")
        _check(
            (table[worker, count:, place["kind"]] == -1).all(), f"the list of worker {worker} does not end"
        )
    _check(manifest["arenas"]["events"] >= 64 * len(manifest["events"]), "the counters need more memory")


def _within(values: np.ndarray[Any, Any], low: int, high: int, worker: int, what: str) -> None:
    _check(
        ((values >= low) & (values < high)).all(),
        f"worker {worker} has an instruction with an unknown {what}",
    )


def _check_weights(manifest: Manifest, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    lanes, arenas = manifest["target"]["lanes"], manifest["arenas"]
    on_gpu = manifest["target"]["kind"] == "gpu"
    _check(lanes == 2 if on_gpu else lanes in (4, 8, 16), f"{lanes} lanes")
    gains = {w["name"]: w["shape"] for w in manifest["weights"] if w["layout"] == "fragments"}
    for weight in manifest["weights"]:
        element = ELEMENT_BYTES[weight["dtype"]]
        scale = weight["scale"]
        _check(
            scale is None or gains.get(scale) == weight["shape"][-1:],
            f"the scale of {weight['name']} is no vector for its columns",
        )
        views = weight["views"]
        _check(
            len(views) == len(weight["sources"]) and all(view is None or _is_view(view) for view in views),
            f"the views of the sources of {weight['name']}",
        )
        *rows, columns = weight["shape"]
        _check(weight["layout"] != "fragments" or on_gpu, f"the layout of {weight['name']}")
        size = (
            int(np.prod(rows))
            * (-(-columns // 32) * 32 if weight["layout"] == "fragments" else columns)
            * element
        )
        if weight["layout"] == "tiles":
            offsets = arrays[f"tile_offsets/{weight['name']}"]
            per_word = 4 // element
            tile = -(-columns // per_word) * 2 * lanes * 4
            if on_gpu:
                tile = tile_blocks(columns) * BLOCK_BYTES
            _check(
                offsets.ndim == 1
                and (offsets >= 0).all()
                and (offsets * 64 + tile <= arenas["stream"]).all(),
                f"a tile of {weight['name']} lies outside the stream",
            )
            size = 4 * len(offsets)
        if weight["layout"] != "tiles" or weight["gathered"]:
            offset = weight["offset"]
            _check(
                offset is not None and offset >= 0 and offset + size <= arenas["params"],
                f"{weight['name']} lies outside the parameters",
            )


def _is_view(view: View) -> bool:
    if view.get("flat"):
        return all(size > 0 for size in view["shape"])
    rows = row_numbers(view)
    last = view["shape"][1 if view["transposed"] else 0]
    return len(view["shape"]) in (1, 2) and rows.size > 0 and rows.min() >= 0 and int(rows.max()) < last


def _check_function(manifest: Manifest) -> None:
    function, sizes = manifest["function"], manifest["sizes"]
    buffers = {buffer["name"]: buffer for buffer in manifest["buffers"]}
    names = [one["buffer"] for one in function["inputs"]] + function["results"]
    for name in names:
        buffer = buffers[name]
        element = np.dtype(buffer["dtype"]).itemsize
        columns = (buffer["shape"][1:] or [1])[0] or 0
        _check(
            buffer["domain"] == "tokens"
            and buffer["dtype"] in ("float32", "int32")
            and buffer["pitch"] >= columns * element
            and buffer["pitch"] % element == 0
            and buffer["offset"] >= 0
            and bool(buffer.get("record")) == (manifest["target"]["kind"] == "gpu")
            and (
                buffer["offset"] + columns * element <= buffer["pitch"]
                if buffer.get("record")
                else buffer["offset"] + sizes["max_tokens"] * buffer["pitch"]
                <= manifest["arenas"]["activations"]
            ),
            f"{name} lies outside its memory",
        )
    for same in ([one["buffer"] for one in function["inputs"]], function["results"]):
        pitches = {buffers[name]["pitch"] for name in same if buffers[name].get("record")}
        _check(len(pitches) <= 1, f"{', '.join(same)} lie in records of different sizes")


def _check_logits(manifest: Manifest) -> None:
    if "function" in manifest:
        return _check_function(manifest)
    found = [b for b in manifest["buffers"] if b["name"] == manifest["logits"]]
    _check(
        found and found[0]["domain"] == "rows" and found[0]["dtype"] == "float32",
        "the logits are not a float32 buffer",
    )
    buffer = found[0]
    _check(
        buffer["pitch"] >= 4 * manifest["vocabulary"]
        and buffer["pitch"] % 4 == 0
        and buffer["offset"] >= 0
        and buffer["offset"] + manifest["sizes"]["max_rows"] * buffer["pitch"]
        <= manifest["arenas"]["activations"],
        "the logits lie outside the activations",
    )
