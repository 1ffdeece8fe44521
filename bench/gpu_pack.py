# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How fast weights are packed on a GPU: `python3 -m bench.gpu_pack PACKAGE.mkp --out FOLDER`, on a machine with one.

All matrices of the package are packed, with made-up bytes and the package's own plan, four ways that take turns:
`link`, copies from pinned memory alone; `device`, the packing kernel alone, from matrices on the GPU; `pinned`, from
pinned memory to tiles as the runtime does it; `pageable`, the same from ordinary memory, which threads copy to pinned
memory first and look through for numbers that are not finite. Rates are of the matrices' bytes. Needs no compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

import mk  # noqa: E402
import numpy as np  # noqa: E402
from mk.errors import MkError  # noqa: E402
from mk.program import Program  # noqa: E402
from mk.runtime.gpu.arrays import HostArray  # noqa: E402
from mk.runtime.gpu.claim import Claim  # noqa: E402
from mk.runtime.gpu.code import PACK, Code, check_fits_gpu  # noqa: E402
from mk.runtime.gpu.context import Gpu  # noqa: E402
from mk.runtime.gpu.convert import CODES, Bits  # noqa: E402
from mk.runtime.gpu.driver import open_driver  # noqa: E402
from mk.runtime.gpu.launch import Channel  # noqa: E402
from mk.runtime.gpu.memory import DeviceMemory  # noqa: E402
from mk.runtime.gpu.packing import pack_tiles, unit_rows  # noqa: E402
from mk.runtime.gpu.staging import Ring  # noqa: E402

Array = np.ndarray[Any, Any]
WAYS = {
    "link": "pinned memory to the GPU, copies alone",
    "device": "GPU memory to tiles, mk_pack alone",
    "pinned": "pinned memory to tiles",
    "pageable": "ordinary memory to tiles",
}
NEEDED = {"device": 100.0}  # GB/s
FILE = "gpu-pack.json"


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m bench.gpu_pack", description="How fast weights are packed."
    )
    parser.add_argument("package", type=Path)
    parser.add_argument("--out", type=Path, help=f"folder for {FILE}")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    options = parser.parse_args(given)
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    try:
        found = measure(mk.load(options.package), options.rounds)
    except MkError as error:
        print(error, file=sys.stderr)
        return 1
    found["package"] = options.package.name
    print(text(found))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / FILE).write_text(json.dumps(found, indent=1) + "\n")
    return 0


class _Filled(Ring):
    """Slots that hold what they are to hold already."""

    def fill(self, bits: Bits, source: str, target: str, name: str) -> int:
        """Copies nothing."""
        return int(bits.size * bits.itemsize)


def measure(program: Program, rounds: int) -> dict[str, Any]:
    """`gbps`: GB/s of each way and round. Raises MkError without a GPU for the program, or with too little memory."""
    manifest = program.manifest
    gpu = Gpu(open_driver())
    check_fits_gpu(gpu, manifest)
    claim = Claim(gpu)
    try:
        with_tiles = [weight for weight in manifest["weights"] if weight["layout"] == "tiles"]
        total = sum(2 * int(np.prod(weight["shape"])) for weight in with_tiles)
        code, channel = Code(gpu, program.code, manifest), Channel(gpu)
        arenas = {
            name: DeviceMemory(gpu, manifest["arenas"][name], channel.stream) for name in ("stream", "params")
        }
        plans = [_Plan(program, weight, gpu, channel.stream, arenas) for weight in with_tiles]
        source = DeviceMemory(gpu, max(plan.bytes for plan in plans), channel.stream)
        ones = np.full(max(plan.bytes for plan in plans) // 2, 0x3F80, np.uint16)
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        with _Filled(gpu, channel.stream) as filled, Ring(gpu, channel.stream) as ring:
            runs: dict[str, Callable[[], object]] = {
                "link": lambda: _copy(filled, total),
                "device": lambda: [plan.launch(code, source.address) for plan in plans],
                "pinned": lambda: [plan.pack(code, filled, plan.nothing()) for plan in plans],
                "pageable": lambda: [plan.pack(code, ring, ones) for plan in plans],
            }
            for number in range(rounds + 1):
                for way, run in runs.items():
                    seconds = _timed(gpu, channel.stream, run)
                    if number:  # the first is to warm up
                        times[way].append(seconds)
        found = {way: [total / 1e9 / seconds for seconds in times[way]] for way in WAYS}
        return {"gpu": gpu.name, "bytes": total, "gbps": found}
    finally:
        claim.release()


class _Plan:
    """How one matrix becomes tiles, with its map on the GPU."""

    def __init__(
        self, program: Program, weight: Any, gpu: Gpu, stream: Any, arenas: dict[str, DeviceMemory]
    ) -> None:
        self._weight, self._arena = weight, arenas["stream"].address
        self._lanes = program.manifest["target"]["lanes"]
        self._offsets = np.ascontiguousarray(program.arrays[f"tile_offsets/{weight['name']}"], np.int64)
        scales = {
            w["name"]: arenas["params"].address + (w["offset"] or 0) for w in program.manifest["weights"]
        }
        self._gain = scales[weight["scale"]] if weight["scale"] else 0
        rows = np.ascontiguousarray(unit_rows(weight["segments"], self._lanes), np.int32)
        self._map = DeviceMemory(gpu, rows.nbytes, stream)
        self._map.write(0, rows)
        self._places = DeviceMemory(gpu, self._offsets.nbytes, stream)
        self._places.write(0, self._offsets)
        self._gpu, self._stream = gpu, stream
        self.bytes = 2 * int(np.prod(weight["shape"]))

    def launch(self, code: Code, source: int) -> None:
        """The kernel alone."""
        numbers = (source, self._map.address, self._places.address, self._arena)
        units, columns = len(self._offsets), self._weight["shape"][1]
        with self._gpu:
            code.helper(
                PACK, self._stream, *(ctypes.c_uint64(n) for n in numbers), ctypes.c_int64(units),
                ctypes.c_int64(columns), ctypes.c_int64(CODES["bfloat16"]), ctypes.c_uint64(self._gain),
            )  # fmt: skip

    def nothing(self) -> Array:
        """Numbers that nobody looks at, without memory."""
        return np.broadcast_to(np.uint16(0), self.bytes // 2)

    def pack(self, code: Code, ring: Ring, numbers: Array) -> None:
        """As the runtime does it."""
        bits = numbers[: self.bytes // 2].reshape(self._weight["shape"])
        source = HostArray(self._weight["name"], bits, "bfloat16")
        pack_tiles(self._weight, [source], self._offsets, self._lanes, ring, code, self._arena, self._gain)


def _copy(ring: Ring, size: int) -> None:
    """So many bytes through the ring's slots."""
    while size > 0:
        ring.take()
        ring.send(0, min(size, ring.size), ring.block.address)
        size -= ring.size


def _timed(gpu: Gpu, stream: Any, run: Callable[[], object]) -> float:
    """Seconds until all that was asked for has been done."""
    began = time.perf_counter()
    run()
    with gpu:
        gpu.cuda("cuStreamSynchronize", stream)
    return time.perf_counter() - began


def text(found: dict[str, Any]) -> str:
    """In Markdown: medians, smallest and largest, and what was needed."""
    lines = ["| | GB/s | of the link | needed | |", "| --- | --- | --- | --- | --- |"]
    link = statistics.median(found["gbps"]["link"])
    for way, what in WAYS.items():
        rates = found["gbps"][way]
        middle = statistics.median(rates)
        share = f"{100 * middle / link:.0f} %" if way.startswith("p") else ""
        needed = NEEDED.get(way)
        verdict = "" if needed is None else "met" if middle >= needed else "missed"
        limit = "" if needed is None else f">= {needed:g}"
        lines.append(
            f"| {what} | {middle:.1f} ({min(rates):.1f}-{max(rates):.1f}) | {share} | {limit} | {verdict} |"
        )
    lines.append("")
    lines.append(
        f"{found.get('package', 'a program')}: {found['bytes'] / 1e9:.2f} GB of matrices, on {found['gpu']}."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
